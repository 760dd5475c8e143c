"""The step in a blueprint, and in a real worker that finds it by its entry point."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from umbel_kernel.blueprint import Blueprint
from umbel_kernel.errors import ConfigurationError
from umbel_kernel.hooks import manager
from umbel_kernel.step import Context, Step
from umbel_step_heartbeat_file import HeartbeatFile
from umbel_step_heartbeat_file.step import VARIABLE

PROGRAM = """
from umbel import Umbel

app = Umbel("tasks", broker="sqlite:///{folder}/umbel.db")
"""


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    return condition()


def test_umbel_finds_it() -> None:
    found = manager().hook.umbel_steps(blueprint="worker", app=None)
    assert HeartbeatFile in [step for steps in found for step in steps]
    others = manager().hook.umbel_steps(blueprint="consumer", app=None)
    assert HeartbeatFile not in [step for steps in others for step in steps]


def test_it_beats_between_start_and_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "alive"
    monkeypatch.setenv(VARIABLE, str(path))

    class Zebra(Step):
        def start(self, context: Context) -> None:
            assert not path.exists(), "the heartbeat began before the worker was ready"

    blueprint = Blueprint("worker", [HeartbeatFile, Zebra])
    context = Context()
    for _ in range(2):
        blueprint.start(context)
        os.utime(path, (0, 0))
        assert wait_until(lambda: path.stat().st_mtime > 0, 10)
        blueprint.stop(context)
        assert not path.exists()


def test_without_the_variable_it_takes_no_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert Blueprint("worker", [HeartbeatFile]).resolve(Context()) == []


def test_a_file_that_cannot_be_written_ends_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "no" / "folder" / "file"))
    with pytest.raises(ConfigurationError, match=VARIABLE):
        Blueprint("worker", [HeartbeatFile]).start(Context())


def test_a_real_worker_touches_the_file(tmp_path: Path) -> None:
    pytest.importorskip("umbel", reason="needs the distribution umbel beside it")
    path = tmp_path / "alive"
    (tmp_path / "tasks.py").write_text(PROGRAM.format(folder=tmp_path))
    program = str(Path(sys.executable).with_name("umbel"))
    command = [program, "-A", "tasks", "worker", "--pool", "solo", "--loglevel", "INFO"]
    with (tmp_path / "log").open("w") as log:
        worker = subprocess.Popen(
            command, cwd=tmp_path, env={**os.environ, VARIABLE: str(path)}, stdout=log, stderr=log
        )
    try:
        assert wait_until(lambda: path.exists() or worker.poll() is not None, 30)
        assert path.exists(), (tmp_path / "log").read_text()
        os.utime(path, (0, 0))
        assert wait_until(lambda: path.stat().st_mtime > 0, 10)
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(30) == 0, (tmp_path / "log").read_text()
        assert not path.exists()
    finally:
        if worker.poll() is None:
            worker.kill()
            worker.wait()
