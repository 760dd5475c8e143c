"""A real umbel worker on the directory broker, which umbel finds by the scheme of the URL."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
from umbel import Umbel

app = Umbel("tasks", broker="directory://{folder}/spool", backend="sqlite:///{folder}/results.db")


@app.task
def add(x, y):
    return x + y
"""
CALL = "from tasks import add; print([add.delay(n, n).get(timeout=20) for n in range(3)])"


@pytest.mark.parametrize("pool", ["solo", "threads", "prefork"])
def test_tasks_go_through_the_directory(tmp_path: Path, pool: str) -> None:
    pytest.importorskip("umbel", reason="needs the distribution umbel beside it")
    (tmp_path / "tasks.py").write_text(PROGRAM.format(folder=tmp_path))
    program = str(Path(sys.executable).with_name("umbel"))
    with (tmp_path / "log").open("w") as log:
        worker = subprocess.Popen(
            [program, "-A", "tasks", "worker", "--pool", pool], cwd=tmp_path, stdout=log, stderr=log
        )
    try:
        called = subprocess.run(
            [sys.executable, "-c", CALL], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
        )
        said = called.stderr + (tmp_path / "log").read_text()
        assert called.stdout == "[0, 2, 4]\n", said
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(30) == 0, (tmp_path / "log").read_text()
    finally:
        if worker.poll() is None:
            worker.kill()
            worker.wait()
