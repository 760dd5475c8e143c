"""Several results as one."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Iterator
from contextlib import aclosing
from typing import Any

from umbel.model import states
from umbel.model.current import get_current_app
from umbel.results.async_result import LAST_LOOK, AsyncResult
from umbel.results.base import ResultBase
from umbel.results.joining import assert_will_not_block
from umbel.results.lots import lot_pause
from umbel.results.overdue import several_overdue
from umbel.results.patience import Patience
from umbel.results.thenable import Thenable
from umbel.results.watch import arrivals


class ResultSet(ResultBase, Thenable):
    """Results that are asked and waited for together, all that are outstanding in one round to the store.

    Args:
        results: its members: results of tasks, and of groups.
        app: whose they are; that of the first member when None.
    """

    def __init__(self, results: Iterable[Any], app: Any = None, **kwargs: Any) -> None:
        self._app = app
        self.results: list[Any] = results if isinstance(results, list) else list(results)

    @property
    def app(self) -> Any:
        """The app whose results they are."""
        if self._app is None:
            self._app = self._bound_app or (self.results[0].app if self.results else get_current_app())
        return self._app

    @app.setter
    def app(self, app: Any) -> None:
        self._app = app

    @property
    def backend(self) -> Any:
        """The ``ResultStore`` that is asked."""
        return self.app.backend

    # Members

    def add(self, result: Any) -> None:
        """Add a result that is not in it yet."""
        if result not in self.results:
            self.results.append(result)

    def update(self, results: Iterable[Any]) -> None:
        """Add those that are not in it yet."""
        for result in results:
            self.add(result)

    def remove(self, result: Any) -> None:
        """Take a result out, given itself or its id.

        Raises:
            KeyError: it is not in it.
        """
        for index, member in enumerate(self.results):
            if member == result or member.id == result:
                del self.results[index]
                return
        raise KeyError(result)

    def discard(self, result: Any) -> None:
        """Take a result out if it is in it."""
        try:
            self.remove(result)
        except KeyError:
            return

    def clear(self) -> None:
        """Take all out."""
        self.results[:] = []

    def _leaves(self) -> Iterator[AsyncResult]:
        for member in self.results:
            if isinstance(member, ResultSet):
                yield from member._leaves()
            else:
                yield member

    # Asking

    def _look(self) -> None:
        """Learn what the store knows of all members that are not known to be ready, in one round."""
        unknown = {leaf.id: leaf for leaf in self._leaves() if leaf._cache is None}
        if unknown:
            for task_id, document in self.backend.get_documents(list(unknown)).items():
                if document.status in states.READY_STATES:
                    unknown[task_id]._keep(document)
        self._call_back_if_ready()

    def _states(self) -> list[str]:
        self._look()
        return [states.PENDING if leaf._cache is None else leaf._cache.status for leaf in self._leaves()]

    def ready(self) -> bool:
        """Whether all have ended."""
        return all(state in states.READY_STATES or state in _ENDED_EAGERLY for state in self._states())

    def waiting(self) -> bool:
        """Whether one has not ended."""
        return not self.ready()

    def successful(self) -> bool:
        """Whether all ended well."""
        return all(state == states.SUCCESS for state in self._states())

    def failed(self) -> bool:
        """Whether one ended with an error."""
        return any(state == states.FAILURE for state in self._states())

    def completed_count(self) -> int:
        """How many ended well."""
        return sum(state == states.SUCCESS for state in self._states())

    @property
    def supports_native_join(self) -> bool:
        """Whether all can be waited for at once; always."""
        return True

    # Waiting

    def join(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        interval: float = 0.5,
        callback: Callable[[str, Any], Any] | None = None,
        no_ack: bool = True,
        on_message: Callable[[dict[str, Any]], Any] | None = None,
        disable_sync_subtasks: bool = True,
        on_interval: Callable[[], Any] | None = None,
    ) -> list[Any]:
        """Wait for all; returns their values in order. ``await results`` does so in an event loop.

        Args:
            timeout: seconds for all of them together; None waits for ever, 0 just looks.
            propagate: raise the first error that comes; without it an error stands in the list in its place.
            callback: called with the id and the value of each as it comes; the list returned is then empty.
            on_message: called with each document that comes.
            on_interval: called every ``interval`` seconds while waiting.

        Raises:
            TimeoutError: not all came in time; it says which ones, and what their states are by then.
            OperationalError: the store went away and did not come back in time; without a timeout, within 30 s.
            RuntimeError: this was called inside a task.
            Exception: a task's own error.
        """
        if disable_sync_subtasks:
            assert_will_not_block()
        for leaf in self._arrivals(timeout, interval, on_message, on_interval):
            leaf.maybe_throw(propagate=propagate, callback=callback)
        self._call_back_if_ready()
        return [] if callback is not None else self._values(propagate)

    get = join

    def join_native(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        interval: float = 0.5,
        callback: Callable[[str, Any], Any] | None = None,
        no_ack: bool = True,
        on_message: Callable[[dict[str, Any]], Any] | None = None,
        on_interval: Callable[[], Any] | None = None,
        disable_sync_subtasks: bool = True,
    ) -> list[Any] | None:
        """See ``join``; with a ``callback`` it returns None."""
        values = self.join(
            timeout, propagate, interval, callback, no_ack, on_message, disable_sync_subtasks, on_interval
        )
        return None if callback is not None else values

    def iter_native(
        self,
        timeout: float | None = None,
        interval: float = 0.5,
        no_ack: bool = True,
        on_message: Callable[[dict[str, Any]], Any] | None = None,
        on_interval: Callable[[], Any] | None = None,
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """The id and the document of each task, as they come.

        Raises:
            TimeoutError: not all came in time.
        """
        for leaf in self._arrivals(timeout, interval, on_message, on_interval):
            yield leaf.id, leaf._get_task_meta()

    def _arrivals(
        self,
        timeout: float | None,
        interval: float | None,
        on_message: Callable[[dict[str, Any]], Any] | None,
        on_interval: Callable[[], Any] | None,
    ) -> Iterator[AsyncResult]:
        """Each member, once, when it is ready; those that come in one round in the order of the set."""
        known, outstanding = self._split()
        yield from known
        end = None if timeout is None else time.monotonic() + timeout
        steps = Patience(self.backend, end)
        while outstanding:
            left = None if end is None else max(end - time.monotonic(), 0.0)
            step = interval or 0.5
            slice_ = left if on_interval is None else step if left is None else min(left, step)
            found = steps.wait_for(list(outstanding), slice_)
            over = end is not None and not found and time.monotonic() >= end
            if over:
                # Some may have ended just so, and who is told of the timeout is told why.
                found = self.backend.look(list(outstanding), LAST_LOOK)
            ready = [name for name in outstanding if name in found and found[name].status in states.READY_STATES]
            for task_id in ready:
                leaf = outstanding.pop(task_id)
                leaf._keep(found[task_id])
                if on_message is not None:
                    on_message(found[task_id].as_mapping())
                yield leaf
            if outstanding and on_interval is not None:
                on_interval()
            if outstanding and over and timeout is not None:
                raise several_overdue(list(outstanding), sum(1 for _ in self._leaves()), timeout, found)
            pause = lot_pause(len(outstanding))
            if pause:
                time.sleep(pause if end is None else max(min(pause, end - time.monotonic()), 0.0))

    def _split(self) -> tuple[list[AsyncResult], dict[str, AsyncResult]]:
        """The members that are known to have ended, and by id those that something is still to come of."""
        known, outstanding = [], {}
        for leaf in self._leaves():
            if leaf._cache is not None:
                known.append(leaf)
            elif not leaf.ignored:
                outstanding[leaf.id] = leaf
        return known, outstanding

    async def __aiter__(self) -> AsyncGenerator[AsyncResult, None]:
        """``async for result in results``: each member when it has ended, in whatever order they do.

        Its value is there at once, by ``result.get()``. Members of groups inside come one by one.
        """
        assert_will_not_block()
        known, outstanding = self._split()
        for leaf in known:
            yield leaf
        if outstanding:
            async with aclosing(arrivals(self.backend, list(outstanding))) as documents:
                async for document in documents:
                    leaf = outstanding[document.task_id]
                    leaf._keep(document)
                    yield leaf
        self._call_back_if_ready()

    def __await__(self) -> Generator[Any, None, list[Any]]:
        """``await results`` is ``results.get()`` for an event loop: the values in order, or the first error that comes.

        Other coroutines go on meanwhile, and cancelling ends the wait.
        """
        return self._come().__await__()

    async def _come(self) -> list[Any]:
        async with aclosing(self.__aiter__()) as leaves:
            async for leaf in leaves:
                leaf.maybe_throw()
        return self._values(True)

    def _values(self, propagate: bool) -> list[Any]:
        values: list[Any] = []
        for member in self.results:
            if isinstance(member, ResultSet):
                values.append(member._values(propagate))
            elif member.ignored:
                values.append(None)
            else:
                values.append(member.get(propagate=propagate, disable_sync_subtasks=False, follow_parents=False))
        return values

    def maybe_throw(self, callback: Callable[[str, Any], Any] | None = None, propagate: bool = True) -> None:
        """Raise the error of the first member that failed; ``callback`` gets the others that have ended."""
        self._look()
        for leaf in self._leaves():
            if leaf._cache is not None:
                leaf.maybe_throw(callback=callback, propagate=propagate)

    maybe_reraise = maybe_throw

    def then(self, callback: Callable[[Any], Any], on_error: Any = None, weak: bool = False) -> ResultSet:
        """Call ``callback`` with this set when somebody finds all of it ready."""
        self._add_callback(callback, on_error, False)
        self._look()
        return self

    def _call_back_if_ready(self) -> None:
        if self._callbacks is not None and all(leaf.ignored or leaf._cache is not None for leaf in self._leaves()):
            self._call_back()

    # Acting

    def forget(self) -> None:
        """Drop the results of all from the store."""
        for result in self.results:
            result.forget()

    def revoke(
        self,
        connection: Any = None,
        terminate: bool = False,
        signal: str | None = None,
        wait: bool = False,
        timeout: float | None = None,
    ) -> None:
        """Tell the workers, in one message, to run none of them."""
        ids = [leaf.id for leaf in self._leaves()]
        self.app.revoke(ids, terminate=terminate, signal=signal, reply=wait, timeout=timeout)

    def __len__(self) -> int:
        return len(self.results)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.results)

    def __getitem__(self, index: int) -> Any:
        return self.results[index]

    def __eq__(self, other: object) -> bool:
        if isinstance(other, ResultSet):
            return other.results == self.results
        return NotImplemented

    __hash__ = object.__hash__

    def __reduce__(self) -> tuple[Any, ...]:
        return self._unbound(), (self.results,)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: [{', '.join(str(result.id) for result in self.results)}]>"


# A task run on the spot may end in these; nothing more comes of it.
_ENDED_EAGERLY = frozenset({states.IGNORED, states.REJECTED})
