"""The suites catch what they are there for: a broken plugin fails the test of its promise, a good one fails none."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

BROKEN = Path(__file__).parent / "broken"
AT_LEAST = {"brokers": 6, "backends": 5, "pools": 5, "loops": 5, "serializers": 3, "compressors": 3, "steps": 3}


class Reports:
    """Takes the reports of a run of pytest inside pytest."""

    def __init__(self) -> None:
        self.failed: list[str] = []
        self.passed: list[str] = []
        self.troubles: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call":
            {"failed": self.failed, "passed": self.passed}.get(report.outcome, []).append(report.nodeid)
        elif report.failed:
            self.troubles.append(f"{report.nodeid}: {report.longreprtext}")

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.troubles.append(f"{report.nodeid}: {report.longreprtext}")


def run(folder: Path, *chosen: str) -> Reports:
    """Run tests with no configuration but their own."""
    ini = folder / "pytest.ini"
    ini.write_text("[pytest]\n", "ascii")
    reports = Reports()
    options = ["-c", str(ini), "--rootdir", str(folder), "--import-mode=importlib", "-q", "--tb=no", "--no-summary"]
    pytest.main([*options, "-p", "no:cacheprovider", "-p", "no:timeout", *chosen], plugins=[reports])
    return reports


def cases(kind: str) -> Iterator[tuple[str, str]]:
    """Each broken plugin's test class and the test that has to fail."""
    for name, value in vars(module(kind)).items():
        if name.startswith("Test") and hasattr(value, "must_fail"):
            yield name, value.must_fail


def module(kind: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"umbel_testkit_broken_{kind}", BROKEN / f"{kind}.py")
    assert spec is not None and spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


CASES = [(kind, *case) for kind in AT_LEAST for case in cases(kind)]


@pytest.mark.parametrize(("kind", "name", "must_fail"), CASES, ids=[f"{kind}-{name}" for kind, name, _ in CASES])
def test_a_broken_plugin_is_caught(kind: str, name: str, must_fail: str, tmp_path: Path) -> None:
    reports = run(tmp_path, f"{BROKEN / kind}.py::{name}::{must_fail}")
    assert reports.troubles == []
    assert reports.failed, f"{must_fail} passed a plugin that breaks its promise"


@pytest.mark.parametrize("kind", ["pools", "serializers", "compressors", "steps"])
def test_a_good_plugin_passes(kind: str, tmp_path: Path) -> None:
    reports = run(tmp_path, f"{BROKEN / kind}.py::TestKeepsAll")
    assert reports.troubles == []
    assert reports.failed == []
    assert len(reports.passed) > 5


def test_a_good_loop_passes(tmp_path: Path) -> None:
    kept = ["test_coroutines_run_side_by_side", "test_many_coroutines"]
    reports = run(tmp_path, *(f"{BROKEN / 'loops'}.py::TestKeepsItsLoop::{name}" for name in kept))
    assert reports.troubles == []
    assert (reports.failed, len(reports.passed)) == ([], 2)


@pytest.mark.parametrize("kind", AT_LEAST)
def test_every_suite_has_its_broken_plugins(kind: str) -> None:
    assert len([case for case in CASES if case[0] == kind]) >= AT_LEAST[kind]
