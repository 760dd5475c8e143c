"""Tests that need a process which was prepared before anything else was imported, such as those of a pool of greenlets.

In a ``conftest.py``:

    prepared = Prepared("my_pool.prepare:prepare", lambda item: item.path.name == "test_conformance.py")

    @pytest.hookimpl(tryfirst=True)
    def pytest_pyfunc_call(pyfuncitem):
        return prepared.run(pyfuncitem)

The tests that the function chooses then run in a process of their own, one after the other at the first of them, and
are reported one by one as if they had run here.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
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

    def __init__(self, prepare: str, wants: Callable[[pytest.Function], bool], *, within: float = 110.0) -> None:
        self._prepare = prepare
        self._wants = wants
        self._within = within
        self._told: dict[str, tuple[str, str]] | None = None
        self._said = ""

    def run(self, item: pytest.Function) -> bool | None:
        """Report what became of a test there. Returns None when it is to run here."""
        if REPORT in os.environ or not self._wants(item):
            return None
        if self._told is None:
            self._told = self._all(item)
        outcome, text = self._told.get(item.nodeid, ("failed", f"the prepared process did not get to it: {self._said}"))
        if outcome == "skipped":
            pytest.skip(text)
        if outcome != "passed":
            pytest.fail(f"in the prepared process:\n{text}", pytrace=False)
        return True

    def _all(self, item: pytest.Function) -> dict[str, tuple[str, str]]:
        session = item.session
        wanted = [each.nodeid for each in session.items if isinstance(each, pytest.Function) and self._wants(each)]
        path = item.config.rootpath / f".pytest-prepared-{os.getpid()}.json"
        command = [
            sys.executable, "-c", _MAIN, self._prepare, "-p", __name__, "-p", "no:cacheprovider",
            "-q", "-m", "", f"--rootdir={item.config.rootpath}", *wanted,
        ]  # fmt: skip
        try:
            ended = subprocess.run(
                command,
                cwd=item.config.rootpath,
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
        found: dict[str, tuple[str, str]] = {}
        if path.exists():
            for line in path.read_text("utf-8").splitlines():
                name, outcome, text = json.loads(line)
                # A test has failed when any of its three parts has.
                if found.get(name, ("passed", ""))[0] == "passed":
                    found[name] = (outcome, text)
            path.unlink()
        return found


def pytest_runtest_logreport(report: Any) -> None:
    """In the other process: note what became of a part of a test."""
    if report.when == "call" or report.outcome != "passed":
        text = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longreprtext
        with open(os.environ[REPORT], "a", encoding="utf-8") as file:
            file.write(json.dumps([report.nodeid, report.outcome, text.removeprefix("Skipped: ")]) + "\n")
