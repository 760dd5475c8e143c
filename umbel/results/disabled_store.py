"""The store of an app that keeps no results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

from umbel.model.exceptions import ConfigurationError
from umbel.results.store import ResultStore
from umbel_kernel.spi.backend import Backend, BackendCapability, Record


class NoResultBackend(ConfigurationError, NotImplementedError):
    """A result was asked of an app that keeps none."""


class DisabledStore(ResultStore):
    """Drops what it is given; whoever asks for a result is told how to have results."""

    enabled = False

    @property
    def backend(self) -> Backend:
        """There is none: raises ``NoResultBackend``."""
        _refuse()

    @property
    def reply_to(self) -> None:
        """None: no result travels."""
        return None

    def can(self, capability: BackendCapability) -> bool:
        """It can do nothing."""
        return False

    def store(self, records: Sequence[Record]) -> None:
        """Nothing is kept."""

    def store_result(
        self, task_id: str, result: Any, state: str, traceback: str | None = None, request: Any = None, **kwargs: Any
    ) -> Any:
        """Nothing is kept; returns the result."""
        return result

    def forget(self, task_id: str) -> None:
        """Nothing was kept."""

    def cleanup(self) -> int:
        """There is nothing to drop."""
        return 0

    def ensure_chords_allowed(self) -> None:
        """Raises ``NoResultBackend``: a chord's header is counted in the result store."""
        raise NoResultBackend(
            "a chord needs a result backend, to know when its header is complete, and results are disabled here; "
            "set result_backend (or backend=), for example to 'redis://localhost:6379/0'"
        )

    def as_uri(self, include_password: bool = False) -> str:
        """``disabled://``."""
        return "disabled://"


def _refuse() -> NoReturn:
    raise NoResultBackend(
        "no result backend is configured, so no task has a result here; set result_backend (or backend=), "
        "for example to 'redis://localhost:6379/0'"
    )
