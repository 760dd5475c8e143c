"""A small project on disk, and the command line run on it as a person would."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

PROJECT = """
import click
from umbel import Step, Umbel

app = Umbel("proj", broker="sqlite:///{folder}/proj.db", backend="sqlite:///{folder}/proj.db")


@app.task
def add(x, y):
    return x + y


@app.task
def greet(name="world"):
    return f"hello {{name}}"
"""

Run = Callable[..., "subprocess.CompletedProcess[str]"]
Start = Callable[..., "subprocess.Popen[str]"]


def clean_environment(**more: str) -> dict[str, str]:
    """This process's environment without what points umbel somewhere."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("UMBEL_", "CELERY_"))}
    return {**kept, "PYTHONUNBUFFERED": "1", **more}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with ``proj.py``, which has an app with two tasks over a SQLite file."""
    (tmp_path / "proj.py").write_text(PROJECT.format(folder=tmp_path))
    return tmp_path


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run ``umbel`` in the test's folder to its end."""

    def call(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "umbel", *words],
            cwd=tmp_path,
            env=clean_environment(**environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )

    return call


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start ``umbel`` in the test's folder; it is killed when the test is over."""
    started: list[subprocess.Popen[str]] = []

    def begin(*words: str, **environment: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "umbel", *words],
            cwd=tmp_path,
            env=clean_environment(**environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def read_until(process: subprocess.Popen[str], text: str) -> str:
    """Read what a process prints until a line has the text; fails when it ends before."""
    seen = ""
    assert process.stdout is not None
    for line in process.stdout:
        seen += line
        if text in line:
            return seen
    raise AssertionError(f"it ended without {text!r}:\n{seen}")
