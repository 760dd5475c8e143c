"""Tests that need a process which was prepared before anything else was imported, such as those of a pool of greenlets.

In a ``conftest.py``:

    prepared = Prepared("my_pool.prepare:prepare", lambda item: item.path.name == "test_conformance.py")

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(item, nextitem):
        return prepared.run(item, nextitem)

The tests that the function chooses then run in a process of their own, one after the other at the first of them, and
are reported one by one as if they had run here. Their fixtures are set up there only.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

REPORT = "UMBEL_TESTKIT_REPORT"
"""The environment variable with the path of the file where the other process tells what became of its tests."""

_MAIN = """
import importlib, sys
module, _, name = sys.argv.pop(1).partition(":")
getattr(importlib.import_module(module), name)()
sys.exit(importlib.import_module("pytest").main(sys.argv[1:]))
"""


class Prepared:
    """Runs some tests in a process that was prepared.

    Args:
        prepare: what prepares it, as ``module:function``.
        wants: whether a test is one of them.
        within: seconds that all of them together may take.
    """

    def __init__(self, prepare: str, wants: Callable[[pytest.Item], bool], *, within: float = 110.0) -> None:
        self._prepare = prepare
        self._wants = wants
        self._within = within
        self._told: dict[str, list[dict[str, Any]]] | None = None
        self._said = ""

    def run(self, item: pytest.Item, following: pytest.Item | None) -> bool | None:
        """Report what became of a test there. Returns None when it is to run here."""
        if REPORT in os.environ or not self._wants(item):
            return None
        hook, config = item.ihook, item.config
        hook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        if self._told is None:
            self._told = self._all(item)
        for data in self._told.get(item.nodeid, []):
            if isinstance(data["longrepr"], list):
                data = {**data, "longrepr": tuple(data["longrepr"])}  # why it was skipped; JSON has no tuples
            report = config.hook.pytest_report_from_serializable(config=config, data=data)
            hook.pytest_runtest_logreport(report=report)
        if item.nodeid not in self._told:
            said = f"the prepared process did not get to it: {self._said}"
            report = pytest.TestReport(item.nodeid, item.location, {}, "failed", said, "call")
            hook.pytest_runtest_logreport(report=report)
        hook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        # What the test before has left for this one to use.
        item.session._setupstate.teardown_exact(following)
        return True

    def _all(self, item: pytest.Item) -> dict[str, list[dict[str, Any]]]:
        root = item.config.rootpath
        wanted = [each.nodeid for each in item.session.items if self._wants(each)]
        found: dict[str, list[dict[str, Any]]] = defaultdict(list)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "reports"
            path.touch()
            command = [
                sys.executable, "-c", _MAIN, self._prepare, "-p", __name__, "-p", "no:cacheprovider",
                "-q", "-m", "", f"--rootdir={root}", *wanted,
            ]  # fmt: skip
            try:
                ended = subprocess.run(
                    command,
                    cwd=root,
                    env={**os.environ, REPORT: str(path)},
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    timeout=self._within,
                    text=True,
                    check=False,
                )
                self._said = ended.stdout[-3000:]
            except subprocess.TimeoutExpired as error:
                self._said = f"it took more than {self._within:g} s\n{str(error.stdout or '')[-3000:]}"
            for line in path.read_text("utf-8").splitlines():
                data = json.loads(line)
                found[data["nodeid"]].append(data)
        return dict(found)


class _Teller:
    """In the other process: notes what became of each part of each test."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        data = self._config.hook.pytest_report_to_serializable(config=self._config, report=report)
        with open(os.environ[REPORT], "a", encoding="utf-8") as file:
            file.write(json.dumps(data, default=str) + "\n")


def pytest_configure(config: pytest.Config) -> None:
    """In the other process, of which this module is a plugin."""
    config.pluginmanager.register(_Teller(config))
