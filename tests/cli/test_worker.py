"""``umbel worker`` as a process of its own."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.cli.conftest import Run, Start, read_until


@pytest.mark.parametrize(
    "words",
    [("-A", "proj", "worker"), ("worker", "-A", "proj"), ("worker", "--app=proj:app")],
    ids=" ".join,
)
def test_a_worker_runs_a_task_and_ends_in_good_order(
    words: tuple[str, ...], project: Path, start: Start, run: Run
) -> None:
    worker = start(*words, "-l", "INFO", "-c", "1")
    banner = read_until(worker, "ready.")
    assert ".> app:         proj:" in banner
    assert "concurrency: 1 (prefork)" in banner
    assert "  . proj.add" in banner
    called = run("-A", "proj", "call", "proj.add", "-a", "[2, 3]", "--wait", "20")
    assert (called.returncode, called.stderr) == (0, "")
    task_id, value = called.stdout.split()
    assert value == "5"
    worker.send_signal(signal.SIGTERM)
    rest, _ = worker.communicate(timeout=20)
    assert worker.returncode == 0
    assert f"Task proj.add[{task_id}] succeeded" in rest
    assert "Warm shutdown" in rest


def test_without_an_app_it_says_how_to_name_one(run: Run) -> None:
    done = run("worker", "-l", "INFO")
    assert done.returncode == 2
    assert "No app was named" in done.stderr
    assert "umbel -A proj worker" in done.stderr
    assert "umbel demo" in done.stderr


def test_an_app_that_is_not_there(run: Run, tmp_path: Path) -> None:
    done = run("-A", "nowhere", "worker")
    assert done.returncode == 1
    assert "no app found at 'nowhere'" in done.stderr
    assert str(tmp_path) in done.stderr
    assert "Traceback" not in done.stderr


def test_a_module_without_an_app(run: Run, tmp_path: Path) -> None:
    (tmp_path / "empty.py").write_text("")
    done = run("-A", "empty", "worker")
    assert done.returncode == 1
    assert "empty:app" in done.stderr


@pytest.mark.parametrize("path", ["old", "old:app"])
def test_an_app_of_celery_is_recognised(run: Run, tmp_path: Path, path: str) -> None:
    (tmp_path / "old.py").write_text("from celery import Celery\napp = Celery('old')\n")
    done = run("-A", path, "worker")
    assert done.returncode == 1
    assert "from umbel import Umbel as Celery" in done.stderr


def test_a_module_that_raises_shows_the_users_own_lines(run: Run, tmp_path: Path) -> None:
    (tmp_path / "wrong.py").write_text("def f():\n    return 1 / 0\n\nf()\n")
    done = run("-A", "wrong", "worker")
    assert done.returncode == 1
    assert "the module of the app 'wrong' cannot be imported" in done.stderr
    assert "wrong.py" in done.stderr
    assert "ZeroDivisionError: division by zero" in done.stderr
    assert "app_command.py" not in done.stderr


def test_an_included_module_that_is_missing_is_told(run: Run, project: Path) -> None:
    done = run("-A", "proj", "worker", "-I", "no_such_module")
    assert done.returncode == 1
    assert "No module named 'no_such_module'" in done.stderr


def test_a_broker_that_is_away_is_told_without_its_password(start: Start, project: Path) -> None:
    worker = start("-A", "proj", "-b", "redis://:hunter2@127.0.0.1:1/0", "worker", "-c", "1")
    said = read_until(worker, "Trying again in")
    assert "Cannot connect to redis://" in said
    assert "127.0.0.1:1" in said
    worker.send_signal(signal.SIGTERM)
    rest, _ = worker.communicate(timeout=20)
    assert worker.returncode == 0
    assert "hunter2" not in said + rest


def test_a_broker_that_is_away_ends_a_worker_that_is_not_to_retry(run: Run, tmp_path: Path) -> None:
    (tmp_path / "once.py").write_text(
        "from umbel import Umbel\n"
        "app = Umbel('once', broker='redis://:hunter2@127.0.0.1:1/0', broker_connection_retry_on_startup=False)\n"
    )
    done = run("-A", "once", "worker", "-c", "1")
    assert done.returncode == 1
    assert "Error: " in done.stderr
    assert "hunter2" not in done.stderr + done.stdout
    assert "Traceback" not in done.stderr


def test_a_pid_file_keeps_a_second_worker_away(start: Start, run: Run, project: Path) -> None:
    first = start("-A", "proj", "worker", "-l", "INFO", "-c", "1", "--pidfile", "%n.pid")
    read_until(first, "ready.")
    file = project / "celery.pid"
    assert int(file.read_text()) == first.pid
    second = run("-A", "proj", "worker", "-c", "1", "--pidfile", "celery.pid")
    assert second.returncode == 1
    assert f"names process {first.pid}, which runs" in second.stderr
    first.send_signal(signal.SIGTERM)
    first.communicate(timeout=20)
    assert first.returncode == 0
    assert not file.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="is about the superuser")
def test_root_does_not_read_pickle_unless_it_says_so(run: Run, start: Start, tmp_path: Path) -> None:
    (tmp_path / "risky.py").write_text(
        "from umbel import Umbel\napp = Umbel('risky', accept_content=['json', 'application/x-python-serialize'])\n"
    )
    refused = run("-A", "risky", "worker", "-c", "1")
    assert refused.returncode == 1
    assert "runs as root and accepts pickle" in refused.stderr
    assert "C_FORCE_ROOT=1" in refused.stderr
    worker = start("-A", "risky", "worker", "-c", "1", "-l", "INFO", C_FORCE_ROOT="1")
    assert "Warning: running as root and accepting pickle" in read_until(worker, "ready.")


def test_other_pools_are_chosen_by_name(start: Start, project: Path) -> None:
    worker = start("-A", "proj", "worker", "-l", "INFO", "-P", "threads", "-c", "2")
    assert "concurrency: 2 (threads)" in read_until(worker, "ready.")
