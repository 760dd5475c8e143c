"""Where the demo's messages and results are kept."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from umbel.config.environment import NAMES, PREFIXES
from umbel.model.ids import uuid

EMBEDDED = "sqlite:///{path}"
"""The URL of a file of the embedded broker and backend; an absolute path makes four slashes."""


@dataclass(frozen=True, slots=True)
class Place:
    """A run's own corner: its directory, the URLs of its broker and backend, and its queue."""

    directory: Path
    broker: str
    backend: str
    queue: str

    @classmethod
    def make(cls, directory: Path, broker: str | None, backend: str | None) -> Place:
        """A place; without URLs it is a file in the directory."""
        embedded = EMBEDDED.format(path=directory / "demo.db")
        return cls(directory, broker or embedded, backend or embedded, f"umbel-demo-{uuid()[:8]}")

    @property
    def log(self) -> Path:
        """What the worker writes to."""
        return self.directory / "worker.log"

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Point this process and those that it starts to the place, whatever the environment pointed them to."""
        ours = {"UMBEL_BROKER_URL": self.broker, "UMBEL_RESULT_BACKEND": self.backend}
        names = [prefix + name.upper() for prefix in PREFIXES for name in NAMES]
        before = {name: os.environ.pop(name) for name in names if name in os.environ}
        os.environ.update(ours)
        try:
            yield
        finally:
            for name in ours:
                os.environ.pop(name, None)
            os.environ.update(before)
