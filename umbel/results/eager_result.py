"""The outcome of a task that was run on the spot."""

from __future__ import annotations

from typing import Any

from umbel.model import states
from umbel.model.exceptions import RemoteError, TaskRevokedError
from umbel.results.async_result import AsyncResult
from umbel.results.joining import assert_will_not_block
from umbel.wire.result_document import ResultDocument


class EagerResult(AsyncResult):
    """A result that is known from the start; no store is asked.

    Args:
        id: the task's id.
        ret_value: its return value, or its error.
        state: its state.
        traceback: of its error, as text.
        name: the task's name.
    """

    def __init__(
        self, id: str, ret_value: Any, state: str, traceback: str | None = None, name: str | None = None
    ) -> None:
        super().__init__(id)
        self._name = name
        self._cache = ResultDocument(id, state, ret_value, traceback, name=name)

    def keep(self, document: ResultDocument) -> None:
        """Answer with a whole document, when more than the outcome is known."""
        self._cache = document

    def ready(self) -> bool:
        """It is."""
        return True

    def get(  # type: ignore[override]
        self, timeout: float | None = None, propagate: bool = True, disable_sync_subtasks: bool = True, **options: Any
    ) -> Any:
        """The return value; the error is raised, or returned without ``propagate``."""
        if disable_sync_subtasks:
            assert_will_not_block()
        document = self._document()
        if document.status == states.SUCCESS:
            return document.result
        if document.status not in states.PROPAGATE_STATES:
            return None
        if not propagate:
            return document.result
        raise document.result if isinstance(document.result, BaseException) else RemoteError(document.result)

    wait = get  # type: ignore[assignment]

    async def _come(self) -> Any:
        return self.get()

    @property
    def children(self) -> list[Any] | None:
        """None: it is not known."""
        return None

    @property
    def supports_native_join(self) -> bool:
        """No: there is nothing to wait for."""
        return False

    def forget(self) -> None:
        """Nothing was stored."""

    def revoke(self, *args: Any, **kwargs: Any) -> None:
        """From now on it is a revoked task's result."""
        self._cache = ResultDocument(self.id, states.REVOKED, TaskRevokedError("revoked"), name=self._name)

    def __copy__(self) -> EagerResult:
        cls, arguments = self.__reduce__()
        copied: EagerResult = cls(*arguments)
        return copied

    def __reduce__(self) -> tuple[Any, ...]:
        document = self._document()
        return self._unbound(), (self.id, document.result, document.status, document.traceback, self._name)
