"""The step: a thread that touches a file while the worker is ready."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from umbel_kernel.errors import ConfigurationError
from umbel_kernel.step import Context, Step

logger = logging.getLogger(__name__)

VARIABLE = "UMBEL_HEARTBEAT_FILE"
INTERVAL = 1.0
"""Seconds between two touches."""


class HeartbeatFile(Step):
    """Touches the file that the environment variable names.

    ``last`` starts it when every other step has started, and stops it before any of them stops: the file says that
    the worker is ready, not merely that its process is there.
    """

    last = True

    def __init__(self) -> None:
        self._path: Path | None = None
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def include_if(self, context: Context) -> bool:
        """See ``Step.include_if``: only when the variable is set."""
        return bool(os.environ.get(VARIABLE))

    def start(self, context: Context) -> None:
        """See ``Step.start``.

        Raises:
            ConfigurationError: the file cannot be written.
        """
        self._path = Path(os.environ[VARIABLE])
        try:
            self._path.touch()
        except OSError as error:
            raise ConfigurationError(f"{VARIABLE} names a file that cannot be touched: {error}") from error
        self._stopping.clear()
        self._thread = threading.Thread(target=self._beat, args=(self._path,), name="heartbeat-file", daemon=True)
        self._thread.start()

    def _beat(self, path: Path) -> None:
        while not self._stopping.wait(INTERVAL):
            try:
                path.touch()
            except OSError as error:
                # The file gets old, which tells its reader; the worker goes on.
                logger.warning("cannot touch %s: %s", path, error)

    def close(self, context: Context) -> None:
        """See ``Step.close``: a worker that takes nothing new is not ready."""
        self.stop(context)

    def stop(self, context: Context) -> None:
        """See ``Step.stop``."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._path is not None:
            self._path.unlink(missing_ok=True)
            self._path = None

    def info(self, context: Context) -> Mapping[str, Any]:
        """See ``Step.info``."""
        return {"path": str(self._path), "interval": INTERVAL}
