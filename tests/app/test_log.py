"""What workers and tasks log, and what they print."""

from __future__ import annotations

import io
import logging
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from umbel import Task, Umbel
from umbel.app.log import Redirected, get_task_logger
from umbel.model import signals


@pytest.fixture
def app() -> Iterator[Umbel]:
    """An app; the loggers are afterwards as they were before."""
    names = (None, "umbel.task", "umbel.redirected", "proj.tasks")
    before = {name: (list((log := logging.getLogger(name)).handlers), log.level, log.propagate) for name in names}
    streams = sys.stdout, sys.stderr
    yield Umbel("logs", broker="memory://", backend="memory://", set_as_current=False)
    sys.stdout, sys.stderr = streams
    for name, (handlers, level, propagate) in before.items():
        log = logging.getLogger(name)
        for handler in set(log.handlers) - set(handlers):
            handler.close()
        log.handlers[:], log.propagate = handlers, propagate
        log.setLevel(level)


def test_lines_of_tasks_name_the_task(app: Umbel, tmp_path: Path) -> None:
    app.conf.worker_log_format = "W %(levelname)s %(message)s"
    app.conf.worker_task_log_format = "T %(task_name)s %(task_id)s %(message)s"
    logger = get_task_logger("proj.tasks")

    @app.task(name="speaks", bind=True)
    def speaks(self: Task) -> None:
        logger.info("within")
        logging.getLogger("elsewhere").info("beside")

    file = tmp_path / "%n.log"
    assert app.log.setup("INFO", str(file), hostname="w1@host") is False
    logger.info("outside")
    speaks.apply(task_id="1f2d")
    lines = (tmp_path / "w1.log").read_text().splitlines()
    assert [line for line in lines if line.startswith("T")] == ["T ??? ??? outside", "T speaks 1f2d within"]
    assert "W INFO beside" in lines


def test_what_is_printed_is_logged_at_its_level(app: Umbel, tmp_path: Path) -> None:
    app.conf.worker_task_log_format = "%(levelname)s %(message)s"
    app.conf.worker_redirect_stdouts_level = "ERROR"
    app.log.setup("INFO", str(tmp_path / "log"), redirect=True)
    print("one\ntwo\n\n")
    print("three", file=sys.stderr)
    assert (tmp_path / "log").read_text().splitlines() == ["ERROR one", "ERROR two", "ERROR three"]
    assert not sys.stdout.isatty()
    with pytest.raises(OSError, match="no file descriptor"):
        sys.stdout.fileno()


def test_printing_can_be_left_alone(app: Umbel, tmp_path: Path) -> None:
    app.conf.worker_redirect_stdouts = False
    before = sys.stdout
    app.log.setup("INFO", str(tmp_path / "log"), redirect=True)
    assert sys.stdout is before


def test_threads_print_at_the_same_time(app: Umbel) -> None:
    """A line of one thread is not dropped because another is just being logged."""
    gate, held = threading.Event(), threading.Event()
    seen: list[str] = []

    class Slow(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            print("what a handler prints is dropped, and does not go round", file=stream)
            seen.append(record.getMessage())

        def acquire(self) -> None:
            """No lock: both are in here at once."""

        def release(self) -> None:
            held.set()
            gate.wait(10)

    logger = logging.Logger("slow")
    logger.addHandler(Slow())
    stream: Any = Redirected(logger, logging.WARNING)
    first = threading.Thread(target=stream.write, args=("first",))
    first.start()
    assert held.wait(10)
    second = threading.Thread(target=stream.write, args=("second",))
    second.start()
    gate.set()
    first.join(10)
    second.join(10)
    assert seen == ["first", "second"]


@pytest.mark.parametrize("hijack", [True, False])
def test_the_root_logger_is_taken_over_or_left_alone(app: Umbel, tmp_path: Path, hijack: bool) -> None:
    root, out = logging.getLogger(), io.StringIO()
    root.handlers[:] = [logging.StreamHandler(out)]
    app.conf.worker_hijack_root_logger = hijack
    app.log.setup("INFO", str(tmp_path / "log"))
    logging.getLogger("anybody").warning("said")
    assert (out.getvalue() == "said\n") is not hijack
    assert ("said" in (tmp_path / "log").read_text()) is hijack


def test_who_sets_logging_up_alone_is_let(app: Umbel, tmp_path: Path) -> None:
    heard: list[dict[str, Any]] = []

    def mine(**given: Any) -> None:
        heard.append(given)

    signals.setup_logging.connect(mine)
    handlers, stream = list(logging.getLogger().handlers), sys.stdout
    assert app.log.setup("DEBUG", str(tmp_path / "log"), redirect=True) is True
    assert logging.getLogger().handlers == handlers
    assert sys.stdout is stream
    assert not (tmp_path / "log").exists()
    assert {"loglevel", "logfile", "format", "colorize"} <= set(heard[0])
    assert heard[0]["loglevel"] == logging.DEBUG


def test_receivers_see_both_loggers(app: Umbel, tmp_path: Path) -> None:
    heard: dict[Any, dict[str, Any]] = {}

    def add(signal: Any, **given: Any) -> None:
        heard[signal.name] = given

    signals.after_setup_logger.connect(add)
    signals.after_setup_task_logger.connect(add)
    app.log.setup("WARNING", str(tmp_path / "log"))
    assert heard["after_setup_logger"]["logger"] is logging.getLogger()
    assert heard["after_setup_task_logger"]["logger"] is logging.getLogger("umbel.task")
    assert all({"loglevel", "logfile", "format", "colorize"} <= set(given) for given in heard.values())


@pytest.mark.parametrize("name", ["umbel", "umbel.task"])
def test_the_frameworks_own_loggers_are_not_for_tasks(name: str) -> None:
    with pytest.raises(RuntimeError, match="__name__"):
        get_task_logger(name)
