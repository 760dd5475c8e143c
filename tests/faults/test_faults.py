"""The short variants of the faults in benchmarks/faults, done to umbel on private servers: every promise is kept."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

CHECKOUT = Path(__file__).parents[2]
FOLDER = CHECKOUT / "benchmarks" / "faults"
PROGRAMS = {"redis": "redis-server", "amqp": "rabbitmq-server"}
SERVICES = {"redis": "redis", "amqp": "rabbitmq"}


def _scenarios() -> list[tuple[str, str]]:
    """Name and broker of each scenario, read from the modules: they are imported only by the program itself."""
    found = []
    for path in sorted(FOLDER.glob("*.py")):
        name = re.search(r'(?m)^NAME = "(.+)"$', text := path.read_text())
        brokers = re.search(r"(?m)^BROKERS = \((.+)\)$", text)
        if name and brokers:
            found += [(name[1], broker) for broker in re.findall(r'"(\w+)"', brokers[1])]
    return found


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Any]:
    """What came of each scenario, of one run of them all side by side."""
    saved = tmp_path_factory.mktemp("faults") / "results.json"
    command = [sys.executable, "benchmarks/faults.py", "--here", "--short", "--contenders", "umbel"]
    done = subprocess.run(
        [*command, "--at-once", "4", "--save", str(saved)], cwd=CHECKOUT, capture_output=True, text=True, timeout=400
    )
    assert saved.exists(), done.stdout + done.stderr
    return {(row["scenario"], row["broker"]): row for row in json.loads(saved.read_text())["rows"]}


@pytest.mark.slow
@pytest.mark.timeout(420)
@pytest.mark.parametrize(("scenario", "broker"), _scenarios())
def test_every_promise_is_kept(scenario: str, broker: str, rows: dict[tuple[str, str], Any]) -> None:
    if shutil.which(PROGRAMS[broker]) is None:
        said = f"{PROGRAMS[broker]} is not installed, and a private one is needed"
        if SERVICES[broker] in os.environ.get("UMBEL_REQUIRE_SERVICES", "").split(","):
            pytest.fail(said)
        pytest.skip(said)
    row = rows[scenario, broker]
    assert not row["failure"], row["failure"]
    assert not row["misses"], (row["misses"], row["figures"])


def test_every_scenario_is_in_the_catalogue() -> None:
    listed = (FOLDER / "catalogue.py").read_text()
    modules = [path.stem for path in FOLDER.glob("*.py") if re.search(r'(?m)^NAME = "', path.read_text())]
    assert len(modules) >= 7
    assert [name for name in modules if not re.search(rf"(?m)^    {name},$", listed)] == []
