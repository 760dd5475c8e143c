"""A handle on the outcome of one task."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import aclosing
from datetime import datetime
from types import GenericAlias
from typing import Any

from umbel.model import states
from umbel.model.current import get_current_app
from umbel.model.exceptions import IncompleteStream, RemoteError, TimeoutError
from umbel.results.base import ResultBase
from umbel.results.graph import DependencyGraph, GraphFormatter
from umbel.results.joining import assert_will_not_block
from umbel.results.overdue import one_overdue
from umbel.results.patience import Patience
from umbel.results.thenable import Thenable
from umbel.results.watch import arrivals
from umbel.wire.failure import attach_traceback
from umbel.wire.result_document import ResultDocument

_READY = states.READY_STATES

LAST_LOOK = 2.0
"""Seconds for the look at what is known of a result whose time is over."""

_ALONE = 0.25
"""Seconds that a task is waited for alone, at first and after one of its parents ended: else each of a long chain would
wake who waits. The error of a parent is usually its children's too, so it is met in that time as well."""


class AsyncResult(ResultBase, Thenable):
    """The outcome of a task, that may still have to come.

    Args:
        id: the task's id.
        backend: the ``ResultStore`` to ask; the app's when None.
        task_name: accepted as Celery does, and not used.
        app: whose result it is; the current app when None.
        parent: the result of what ran before it in a chain.
    """

    TimeoutError = TimeoutError

    def __init__(
        self, id: str, backend: Any = None, task_name: str | None = None, app: Any = None, parent: Any = None
    ) -> None:
        if id is None:
            raise ValueError("an AsyncResult needs the id of a task, not None")
        self.id = id
        self.parent = parent
        self.ignored = False
        self._app = app
        self._backend = backend
        self._cache: ResultDocument | None = None
        self._seen: str | None = None

    def __class_getitem__(cls, item: Any) -> GenericAlias:
        return GenericAlias(cls, item)

    @property
    def app(self) -> Any:
        """The app whose result it is."""
        if self._app is None:
            self._app = self._bound_app or get_current_app()
        return self._app

    @app.setter
    def app(self, app: Any) -> None:
        self._app = app

    @property
    def backend(self) -> Any:
        """The ``ResultStore`` that is asked."""
        return self.app.backend if self._backend is None else self._backend

    @backend.setter
    def backend(self, backend: Any) -> None:
        self._backend = backend

    @property
    def task_id(self) -> str:
        """The same as ``id``."""
        return str(self.id)

    @task_id.setter
    def task_id(self, task_id: str) -> None:
        self.id = task_id

    # Waiting

    def get(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        interval: float = 0.5,
        no_ack: bool = True,
        follow_parents: bool = True,
        callback: Callable[[str, Any], Any] | None = None,
        on_message: Callable[[dict[str, Any]], Any] | None = None,
        on_interval: Callable[[], Any] | None = None,
        disable_sync_subtasks: bool = True,
        EXCEPTION_STATES: frozenset[str] = states.EXCEPTION_STATES,
        PROPAGATE_STATES: frozenset[str] = states.PROPAGATE_STATES,
    ) -> Any:
        """Wait for the outcome; returns the task's return value. ``await result`` does so in an event loop.

        Args:
            timeout: seconds to wait; None waits for ever, 0 just looks. The task runs on when it is over.
            propagate: raise the task's error; without it the error is returned.
            interval: seconds between two calls of ``on_interval``, and between two looks for ``on_message``.
            no_ack: accepted as Celery does; a store decides for itself.
            follow_parents: raise also the error of a task that ran before this one in its chain.
            callback: called with the id and the value instead of just returning it.
            on_message: called with each document that is seen of the task, those of its progress included.
            on_interval: called over and over while waiting.
            disable_sync_subtasks: refuse to wait inside a task.

        Raises:
            TimeoutError: nothing came in time; it says which task, and what its state is by then.
            OperationalError: the store went away and did not come back in time; without a timeout, within 30 s.
            RuntimeError: this was called inside a task.
            Exception: the task's own error, with the worker's traceback as its cause.
        """
        if self.ignored:
            return None
        if disable_sync_subtasks:
            assert_will_not_block()
        if self._cache is None:
            self._wait(timeout, interval, follow_parents and propagate, on_message, on_interval)
        return self.maybe_throw(propagate=propagate, callback=callback)

    wait = get

    def _wait(
        self,
        timeout: float | None,
        interval: float | None,
        follow_parents: bool,
        on_message: Callable[[dict[str, Any]], Any] | None,
        on_interval: Callable[[], Any] | None,
    ) -> None:
        store = self.backend
        parents = self._awaited_parents() if follow_parents else {}
        end = None if timeout is None else time.monotonic() + timeout
        steps = Patience(store, end)
        stepwise = on_message is not None or on_interval is not None
        alone = bool(parents) and not stepwise
        shown: tuple[str, str] | None = None
        while True:
            left = None if end is None else max(end - time.monotonic(), 0.0)
            slice_ = min(left if left is not None else interval or 0.5, interval or 0.5) if stepwise else left
            if alone and slice_ != 0:
                found = steps.wait_for([self.id], _ALONE if slice_ is None else min(slice_, _ALONE))
                if not found:
                    alone = False
                    continue
            else:
                found = steps.wait_for([self.id, *parents], slice_)
                alone = bool(parents) and not stepwise
            if end is not None and not found and time.monotonic() >= end:
                # Whatever its state is by now: it may have ended just so, and who is told of the timeout is told why.
                found = store.look([self.id], LAST_LOOK)
            document = found.get(self.id)
            if on_message is not None:
                seen = document or steps.known(self.id)
                if (said := (seen.status, repr(seen.result))) != shown and seen.status != states.PENDING:
                    shown, self._seen = said, seen.status
                    on_message(seen.as_mapping())
            for task_id in found:
                if task_id in parents:
                    parents.pop(task_id)._ended(found[task_id])
            if document is not None and document.status in _READY:
                self._keep(document)
                return
            if on_interval is not None:
                on_interval()
            # A parent that is ready says nothing of this task, so only an empty-handed wait can end the time.
            if end is not None and timeout is not None and not (found.keys() - {self.id}) and time.monotonic() >= end:
                raise one_overdue(self.id, timeout, document, self._seen)

    def _awaited_parents(self) -> dict[str, AsyncResult]:
        """The tasks before it that have not ended, as far as is known here; raises the error of one that failed."""
        parents = {node.id: node for node in self._parents() if isinstance(node, AsyncResult)}
        for node in [node for node in parents.values() if node._cache is not None]:
            node.maybe_throw()
            del parents[node.id]
        return parents

    def _ended(self, document: ResultDocument) -> None:
        self._keep(document)
        self.maybe_throw()

    def __await__(self) -> Generator[Any, None, Any]:
        """``await result`` is ``result.get()`` for an event loop: other coroutines go on, and cancelling ends the wait.

        However many are awaited, they wait on one thread and one connection.
        """
        return self._come().__await__()

    async def _come(self) -> Any:
        if self.ignored:
            return None
        assert_will_not_block()
        if self._cache is None:
            parents = self._awaited_parents()
            async with aclosing(arrivals(self.backend, [self.id, *parents])) as documents:
                async for document in documents:
                    if document.task_id == self.id:
                        self._keep(document)
                        break
                    parents[document.task_id]._ended(document)
        return self.maybe_throw()

    def _parents(self) -> Iterator[ResultBase]:
        node = self.parent
        while node is not None:
            yield node
            node = node.parent

    def maybe_throw(self, propagate: bool = True, callback: Callable[[str, Any], Any] | None = None) -> Any:
        """Raise the error of a task that failed, with ``propagate``; else return its value, and call ``callback``."""
        document = self._document()
        value = document.result
        if propagate and document.status in states.PROPAGATE_STATES:
            error = value if isinstance(value, BaseException) else RemoteError(f"task {self.id} failed: {value!r}")
            # The same error may be raised here again and again: the frames of the last time do not belong to this one.
            raise attach_traceback(error, document.traceback).with_traceback(None)
        if callback is not None:
            callback(self.id, value)
        return value

    maybe_reraise = maybe_throw

    def throw(self, exc: BaseException, tb: Any = None) -> None:
        """Raise an error here, as if the task had failed with it."""
        raise exc.with_traceback(tb)

    def then(self, callback: Callable[[Any], Any], on_error: Any = None, weak: bool = False) -> AsyncResult:
        """Call ``callback`` with this result when somebody finds it ready: at once if it is, else in a ``get``."""
        self._add_callback(callback, on_error, self._cache is not None or self.ready())
        return self

    # Asking

    def _document(self) -> ResultDocument:
        if self._cache is not None:
            return self._cache
        document: ResultDocument = self.backend.get_document(self.id)
        if document.status in _READY:
            self._keep(document)
        elif document.status != states.PENDING:
            self._seen = document.status
        return document

    def _get_task_meta(self) -> dict[str, Any]:
        return self._document().as_mapping()

    def _keep(self, document: ResultDocument) -> None:
        self._cache = document
        if self._callbacks is not None:
            self._call_back()

    @property
    def state(self) -> str:
        """The task's state; ``PENDING`` also when nothing is known of it."""
        return self._document().status

    status = state

    @property
    def result(self) -> Any:
        """The return value, the error, or what the task said of its progress."""
        return self._document().result

    info = result

    @property
    def traceback(self) -> str | None:
        """The worker's traceback of a task that failed."""
        return self._document().traceback

    @property
    def children(self) -> list[Any] | None:
        """The results of the tasks that this one sent; None when that is not known."""
        document = self._document()
        if document.children is None:
            return None
        return [self.backend.result_from_tuple(child) for child in document.children]

    @property
    def date_done(self) -> datetime | None:
        """When the task ended."""
        return self._document().date_done

    @property
    def name(self) -> str | None:
        """The task's name, with ``result_extended``."""
        return self._document().name

    @property
    def args(self) -> Any:
        """The task's arguments, with ``result_extended``."""
        return self._document().args

    @property
    def kwargs(self) -> Any:
        """The task's keyword arguments, with ``result_extended``."""
        return self._document().kwargs

    @property
    def worker(self) -> str | None:
        """The worker that ran it, with ``result_extended``."""
        return self._document().worker

    @property
    def retries(self) -> int | None:
        """How often it was retried, with ``result_extended``."""
        return self._document().retries

    @property
    def queue(self) -> str | None:
        """The routing key that it came by, with ``result_extended``."""
        return self._document().queue

    def exists(self) -> bool:
        """Whether the store knows anything of the task."""
        return bool(self.backend.task_result_exists(self.id))

    def ready(self) -> bool:
        """Whether the task has ended."""
        return self.state in _READY

    def successful(self) -> bool:
        """Whether it ended well."""
        return self.state == states.SUCCESS

    def failed(self) -> bool:
        """Whether it ended with an error."""
        return self.state == states.FAILURE

    @property
    def supports_native_join(self) -> bool:
        """Whether several can be waited for at once; always."""
        return True

    # Acting

    def forget(self) -> None:
        """Drop the result from the store, and those of its parents."""
        self._cache = None
        if self.parent is not None:
            self.parent.forget()
        self.backend.forget(self.id)

    def revoke(
        self,
        connection: Any = None,
        terminate: bool = False,
        signal: str | None = None,
        wait: bool = False,
        timeout: float | None = None,
    ) -> None:
        """Tell the workers not to run the task; with ``terminate``, to end it where it runs."""
        self.app.revoke([self.id], terminate=terminate, signal=signal, reply=wait, timeout=timeout)

    def revoke_by_stamped_headers(
        self,
        headers: Any,
        connection: Any = None,
        terminate: bool = False,
        signal: str | None = None,
        wait: bool = False,
        timeout: float | None = None,
    ) -> None:
        """Tell the workers not to run any task that bears these stamps, a dict of names and values."""
        self.app.control.revoke_by_stamped_headers(headers, terminate=terminate, signal=signal)

    # The tasks that it sent

    def iterdeps(self, intermediate: bool = False) -> Iterator[tuple[Any, Any]]:
        """This result and all that came of it, as (parent, result), the nearest first.

        Raises:
            IncompleteStream: one of them is not ready, and ``intermediate`` is off.
        """
        ahead: deque[tuple[Any, Any]] = deque([(None, self)])
        while ahead:
            parent, node = ahead.popleft()
            yield parent, node
            if node.ready():
                ahead.extend((node, child) for child in node.children or ())
            elif not intermediate:
                raise IncompleteStream(f"task {node.id} has not ended yet")

    def collect(self, intermediate: bool = False, **kwargs: Any) -> Iterator[tuple[Any, Any]]:
        """This result and all that came of it, each as (result, value); waits for each."""
        for _, node in self.iterdeps(intermediate=intermediate):
            yield node, node.get(**kwargs)

    def get_leaf(self) -> Any:
        """The value of the last result that came of this one."""
        value = None
        for _, node in self.iterdeps():
            value = node.get()
        return value

    def build_graph(self, intermediate: bool = False, formatter: Any = None) -> DependencyGraph:
        """The graph of this result and all that came of it; ``formatter`` draws it in ``to_dot``."""
        graph = DependencyGraph(formatter=formatter or GraphFormatter(root=self.id, shape="oval"))
        for parent, node in self.iterdeps(intermediate=intermediate):
            graph.add_arc(node)
            if parent is not None:
                graph.add_edge(parent, node)
        return graph

    @property
    def graph(self) -> DependencyGraph:
        """See ``build_graph``."""
        return self.build_graph()

    # As data

    def as_tuple(self) -> Any:
        """``((id, parent), None)``."""
        return (self.id, self.parent and self.parent.as_tuple()), None

    def as_list(self) -> list[str]:
        """Its id and those of its parents."""
        ids = [self.id]
        if self.parent is not None:
            ids.extend(self.parent.as_list())
        return ids

    def __str__(self) -> str:
        return str(self.id)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.id}>"

    def __hash__(self) -> int:
        return hash(self.id)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, AsyncResult):
            return bool(other.id == self.id)
        if isinstance(other, str):
            return other == str(self.id)
        return NotImplemented

    def __copy__(self) -> AsyncResult:
        return type(self)(self.id, self._backend, None, self._app, self.parent)

    def __reduce__(self) -> tuple[Any, ...]:
        # Neither the app nor the store travels: where it arrives, it asks the current app.
        return self._unbound(), (self.id, None, None, None, self.parent)
