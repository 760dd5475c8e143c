"""The first program of the README does what the README says, in a folder with nothing else in it."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text("utf-8")
UMBEL = str(Path(sys.executable).with_name("umbel"))


def block(language: str, holding: str) -> str:
    """The first code block of a language that has this text in it."""
    return next(code for code in re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL) if holding in code)


def test_the_first_program(tmp_path: Path) -> None:
    (tmp_path / "tasks.py").write_text(block("python", "@app.task"))
    statement, call, answer = block("python", ">>>").splitlines()
    program = f"{statement.removeprefix('>>> ')}\nprint({call.removeprefix('>>> ')})"
    command = block("sh", "worker\n").splitlines()[-1].split()
    assert command[0] == "umbel"
    with (tmp_path / "log").open("w") as log:
        worker = subprocess.Popen([UMBEL, *command[1:]], cwd=tmp_path, stdout=log, stderr=log)
    try:
        called = subprocess.run(
            [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
        )
        assert called.stdout.strip() == answer, called.stderr + (tmp_path / "log").read_text()
        assert (tmp_path / "umbel.db").is_file()
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(30) == 0, (tmp_path / "log").read_text()
    finally:
        if worker.poll() is None:
            worker.kill()
            worker.wait()


def test_the_demo() -> None:
    shown = next(line for line in README.splitlines() if "umbel demo" in line)
    assert shown.startswith("pip install -q uv && uv run umbel demo ")
    done = subprocess.run([UMBEL, "demo"], capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.strip()
