"""Logging as Celery's users know it: the worker's format, the tasks' format, colours on a terminal."""

from __future__ import annotations

import logging
import os
import sys
import threading
from typing import Any, TextIO

from umbel.model import current, node, signals

_COLOURS = {"DEBUG": "34", "WARNING": "33", "ERROR": "31", "CRITICAL": "35"}
_base_task_logger = logging.getLogger("umbel.task")


def get_logger(name: str) -> logging.Logger:
    """A logger by name."""
    return logging.getLogger(name)


def get_task_logger(name: str) -> logging.Logger:
    """A logger for a module of tasks: its records bear the running task's name and id.

    Args:
        name: usually ``__name__``.
    """
    if name in ("umbel", "umbel.task"):
        raise RuntimeError(f"{name!r} is the framework's own logger; give your module's __name__")
    logger = logging.getLogger(name)
    if logger.parent is None or isinstance(logger.parent, logging.RootLogger):
        logger.parent = _base_task_logger
    return logger


class ColourFormatter(logging.Formatter):
    """A formatter that colours lines by level, on terminals."""

    def __init__(self, text: str, datefmt: str | None, *, colour: bool) -> None:
        super().__init__(text, datefmt)
        self.colour = colour

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record."""
        line = super().format(record)
        code = _COLOURS.get(record.levelname)
        return f"\x1b[{code}m{line}\x1b[0m" if self.colour and code else line


class TaskFormatter(ColourFormatter):
    """The same, with ``task_name`` and ``task_id`` of the task that logs."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record."""
        request = current.get_outermost_request()
        if request is not None and request.id:
            record.__dict__.update(task_id=request.id, task_name=request.task)
        else:
            record.__dict__.setdefault("task_name", "???")
            record.__dict__.setdefault("task_id", "???")
        return super().format(record)


class Redirected:
    """A text stream whose lines go to a logger, in place of ``sys.stdout``."""

    encoding = "utf-8"
    errors = "replace"
    mode = "w"
    name = "<the log>"
    closed = False

    def __init__(self, logger: logging.Logger, level: int) -> None:
        self._logger = logger
        self._level = level
        self._busy = threading.local()

    def write(self, data: str) -> int:
        """Log each line that has text. What is printed by what logs it is dropped."""
        if getattr(self._busy, "now", False):
            return len(data)
        self._busy.now = True
        try:
            for line in data.rstrip().splitlines():
                if line.strip():
                    self._logger.log(self._level, line)
        finally:
            self._busy.now = False
        return len(data)

    def writelines(self, lines: Any) -> None:
        """Log lines."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Nothing is held back."""

    def isatty(self) -> bool:
        """It is no terminal."""
        return False

    def fileno(self) -> int:
        """It has none.

        Raises:
            OSError: always.
        """
        raise OSError("stdout goes to the log here; it has no file descriptor")


class Logging:
    """Sets up logging for the programs of an app."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self.already_setup = False
        self._file: tuple[str, str] | None = None
        self._handlers: list[logging.FileHandler] = []

    def setup(
        self,
        level: int | str | None = None,
        logfile: str | None = None,
        *,
        colour: bool | None = None,
        hostname: str = "",
        redirect: bool = False,
    ) -> bool:
        """Set the loggers up, unless a receiver of ``setup_logging`` does. Returns whether the receiver did.

        Args:
            level: by number or name.
            logfile: where to, instead of stderr; ``%n`` and so on are expanded, see ``node.expand``.
            colour: None for yes on a terminal.
            redirect: send ``stdout`` and ``stderr`` to the log.
        """
        if self.already_setup:
            return False
        self.already_setup = True
        conf = self._app.conf
        number = logging.getLevelName(level.upper()) if isinstance(level, str) else (level or logging.WARNING)
        answered = signals.setup_logging.send(
            sender=None, loglevel=number, logfile=logfile, format=conf.worker_log_format, colorize=colour
        )
        if answered:
            return True
        stream: TextIO | None = None if logfile else sys.__stderr__
        if colour is None:
            colour = conf.worker_log_color
        if colour is None:
            colour = stream is not None and stream.isatty()
        path = node.expand(logfile, hostname) if logfile else None
        self._file = (logfile, hostname) if logfile else None
        root = logging.getLogger()
        if conf.worker_hijack_root_logger:
            for handler in list(root.handlers):
                root.removeHandler(handler)
        if not any(not isinstance(handler, logging.NullHandler) for handler in root.handlers):
            formatter = ColourFormatter(conf.worker_log_format, conf.worker_log_datefmt, colour=bool(colour))
            self._add(root, path, stream, formatter)
            root.setLevel(number)
        tasks = _base_task_logger
        self._add(
            tasks,
            path,
            stream,
            TaskFormatter(conf.worker_task_log_format, conf.worker_task_log_datefmt, colour=bool(colour)),
        )
        tasks.setLevel(number)
        tasks.propagate = False
        for signal, logger in ((signals.after_setup_logger, root), (signals.after_setup_task_logger, tasks)):
            signal.send(
                sender=None,
                logger=logger,
                loglevel=number,
                logfile=logfile,
                format=conf.worker_log_format,
                colorize=colour,
            )
        if redirect and conf.worker_redirect_stdouts:
            self.redirect_stdouts(conf.worker_redirect_stdouts_level)
        return False

    def _add(
        self, logger: logging.Logger, path: str | None, stream: TextIO | None, formatter: logging.Formatter
    ) -> None:
        handler: logging.Handler
        if path is not None:
            handler = logging.FileHandler(path, encoding="utf-8", delay=False)
            self._handlers.append(handler)
        elif stream is not None:
            handler = logging.StreamHandler(stream)
        else:
            handler = logging.NullHandler()
        handler.setFormatter(formatter)
        logger.addHandler(handler)

    def move(self) -> None:
        """In a process of the pool: log to a file of its own, if the file's name has a place for its number."""
        if self._file is None or os.path.abspath(path := node.expand(*self._file)) == self._handlers[0].baseFilename:
            return
        for handler in self._handlers:
            handler.close()
            handler.baseFilename = os.path.abspath(path)

    def redirect_stdouts(self, level: int | str = "WARNING") -> None:
        """Send what is printed to the log."""
        number = logging.getLevelName(level.upper()) if isinstance(level, str) else level
        logger = get_task_logger("umbel.redirected")
        sys.stdout = Redirected(logger, number)
        sys.stderr = Redirected(logger, number)
