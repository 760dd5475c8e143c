"""The entry point: what prepares the process for a pool comes before all else, and costs the others nothing."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from umbel.cli.start import pool_of

GREENLETS = ["gevent", pytest.param("eventlet", marks=pytest.mark.slow)]


@pytest.mark.parametrize(
    ("line", "pool"),
    [
        ("-A proj worker -P gevent -c 1000", "gevent"),
        ("-A proj worker -c 1000 --pool gevent", "gevent"),
        ("-A proj worker --pool=gevent", "gevent"),
        ("worker -A proj -Pgevent", "gevent"),
        ("-A worker worker -P solo -P gevent", "gevent"),
        ("-A proj worker", None),
        ("-A proj worker -P", None),
        ("-A proj worker -- -P gevent", None),
        ("-A proj call -P gevent", None),
        ("", None),
    ],
)
def test_the_pool_is_found_among_the_words(line: str, pool: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CELERY_CUSTOM_WORKER_POOL", raising=False)
    assert pool_of(line.split()) == pool


def test_the_environment_may_name_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CELERY_CUSTOM_WORKER_POOL", "eventlet")
    assert pool_of(["worker"]) == "eventlet"
    assert pool_of(["worker", "-P", "solo"]) == "solo"
    assert pool_of(["report"]) is None


def ask(program: str) -> str:
    """What a program prints."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_next_to_nothing_is_imported_before_a_pool_prepares() -> None:
    """What has kept a lock or a socket of the unpatched kind would block all greenlets."""
    program = """
        import sys
        from umbel.cli import start
        before = set(sys.modules)
        class Seen(Exception): pass
        from umbel_kernel import plugins
        def look(plugin):
            print(*sorted({"threading", "socket", "ssl", "select", "queue", "logging", "click"} & set(sys.modules)))
            return lambda: None
        plugins.Plugin.load = look
        start.prepare("gevent")
    """
    assert ask(program).strip() == ""


def test_other_command_lines_import_what_they_did() -> None:
    program = """
        import sys
        sys.argv = ["umbel", "--help"]
        from umbel.cli.start import main
        main()
        found = [name for name in sys.modules if name.startswith("umbel")]
        print("umbel.model.installed" in found, "gevent" in sys.modules)
    """
    assert ask(program).split()[-2:] == ["False", "False"]


PROJECT = """
    import socket, threading, time
    from umbel import Umbel

    app = Umbel("proj", broker="memory://", backend="memory://")
    print("socket is", socket.socket.__module__, "and sleep", time.sleep.__module__)
"""


@pytest.mark.parametrize("pool", GREENLETS)
def test_the_library_is_patched_before_the_app_is_imported(tmp_path: Path, pool: str) -> None:
    pytest.importorskip(pool)
    (tmp_path / "proj.py").write_text(textwrap.dedent(PROJECT) + "raise SystemExit('seen enough')\n")
    command = [sys.executable, "-m", "umbel", "-A", "proj", "worker", "-P", pool]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert f"socket is {pool}." in done.stdout, done.stderr
    assert f"and sleep {pool}." in done.stdout
    assert "seen enough" in done.stderr


@pytest.mark.parametrize("pool", GREENLETS)
def test_a_pool_that_comes_too_late_says_what_to_do(tmp_path: Path, pool: str) -> None:
    pytest.importorskip(pool)
    (tmp_path / "proj.py").write_text(textwrap.dedent(PROJECT) + f"app.conf.worker_pool = {pool!r}\n")
    command = [sys.executable, "-m", "umbel", "-A", "proj", "worker"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert f"start the worker with `umbel -A APP worker -P {pool}`" in done.stderr
    assert "the setting `worker_pool` is read too late" in done.stderr
    assert "Traceback" not in done.stderr


def test_what_cannot_prepare_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "umbel_pool_bad-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: umbel-pool-bad\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text("[umbel.prepare]\nbad = no_such_module:prepare\n")
    command = [sys.executable, "-m", "umbel", "-A", "proj", "worker", "-P", "bad"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "umbel-pool-bad cannot prepare this process for the pool 'bad': ModuleNotFoundError" in done.stderr
    assert "Traceback" not in done.stderr
