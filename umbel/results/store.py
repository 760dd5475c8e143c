"""The app's results: documents written to and read from the backend plugin."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from umbel.model import states
from umbel.model.exceptions import TaskRevokedError
from umbel.model.forking import load, renewed_in_child
from umbel.model.ids import uuid
from umbel.model.ports import AppPort
from umbel.results import patience
from umbel.results.base import ResultBase
from umbel.results.from_tuple import result_from_tuple
from umbel.results.watch import Watch
from umbel.wire.failure import decode_exception, encode_exception
from umbel.wire.result_document import COMPRESSED, JSON, ResultDocument, encode, loads
from umbel_kernel.errors import BackendError, NotSupported
from umbel_kernel.spi.backend import Backend, BackendCapability, ChordPart, Record

_EXCEPTION_STATES = states.EXCEPTION_STATES

_BELL_EXPIRES = 60.0


class _Settings:
    """What is read of the configuration, once, since records are made on the path of every task."""

    __slots__ = (
        "accept", "cache_max", "chord_expires", "compression", "content_encoding", "content_type", "expires",
        "extended", "failure_expires", "serializer",
    )  # fmt: skip

    def __init__(self, conf: Any) -> None:
        self.serializer: str = conf.result_serializer
        plugin = load("serializers", self.serializer)
        self.content_type: str = plugin.content_type
        self.content_encoding: str = plugin.content_encoding
        self.compression: str | None = conf.result_compression
        self.extended = bool(conf.result_extended)
        self.expires = _seconds(conf.result_expires)
        failure, chord = conf.result_failure_expires, conf.result_chord_expires
        self.failure_expires = self.expires if failure is None else _seconds(failure)
        self.chord_expires = self.expires if chord is None else _seconds(chord)
        self.cache_max: int | None = conf.result_cache_max
        self.accept: Any = conf.result_accept_content


class ResultStore:
    """Keeps and finds the results of an app's tasks. It may be used from several threads.

    The settings are read when the first result is written or read. The backend is asked of the app each time, so that
    a forked process never uses its parent's connection.
    """

    READY_STATES = states.READY_STATES
    UNREADY_STATES = states.UNREADY_STATES
    EXCEPTION_STATES = states.EXCEPTION_STATES
    enabled = True
    """Whether anything is kept. Where it is not, a worker need not make records."""

    def __init__(self, app: AppPort) -> None:
        self.app = app
        self._read: _Settings | None = None
        self._cache: OrderedDict[str, ResultDocument] = OrderedDict()
        self._lock = renewed_in_child(self, "_lock", threading.Lock)
        self._watch: Watch | None = None

    @property
    def backend(self) -> Backend:
        """The connected plugin of this process."""
        return self.app.load_backend()

    @property
    def _settings(self) -> _Settings:
        if self._read is None:
            self._read = _Settings(self.app.conf)
        return self._read

    @property
    def reply_to(self) -> str | None:
        """What a task's message says in ``reply_to``, for results that travel to their caller; else None."""
        return self.backend.reply_to

    def can(self, capability: BackendCapability) -> bool:
        """Whether the backend has a capability."""
        return capability in self.app.backend_capabilities

    # Writing

    def record(
        self, task_id: str, state: str, result: Any, *, traceback: str | None = None, request: Any = None
    ) -> Record:
        """A task's outcome or progress, serialised.

        Args:
            result: the return value, the error, or in a state of your own whatever the serializer can write.
            request: the task's ``Context``, or None.

        Raises:
            EncodeError: the result cannot be serialised.
        """
        settings = self._read or self._settings
        if isinstance(result, BaseException) and state in _EXCEPTION_STATES:
            result = encode_exception(result, settings.serializer)
        elif isinstance(result, ResultBase):
            result = result.as_tuple()
        expires = settings.failure_expires if state == states.FAILURE else settings.expires
        if request is None:
            document = encode(task_id, state, result, traceback=traceback)
            reply_to, fence = None, 0
        else:
            children = getattr(request, "children", None)
            fence = getattr(request, "delivery_fence", 0)
            document = encode(
                task_id, state, result,
                traceback=traceback,
                children=[child.as_tuple() for child in children] if children else [],
                group_id=getattr(request, "group", None),
                parent_id=getattr(request, "parent_id", None),
                extended=_extended(request) if settings.extended else None,
                fence=fence,
            )  # fmt: skip
            reply_to = getattr(request, "reply_to", None)
        body, content_type, content_encoding = self.app.content.dumps(document, settings.serializer)
        if settings.compression is not None:
            squeezed, compressor = self.app.content.compress(body, settings.compression)
            body = b"".join((COMPRESSED, compressor.encode(), b"\x00", squeezed))
        return Record(task_id, state, body, content_type, content_encoding, expires, reply_to, fence)

    def store(self, records: Sequence[Record]) -> None:
        """Keep these, in one batch.

        Raises:
            OperationalError: the store is away.
            BackendError: the store refuses.
        """
        if records:
            self.backend.store(records)

    def store_result(
        self, task_id: str, result: Any, state: str, traceback: str | None = None, request: Any = None, **kwargs: Any
    ) -> Any:
        """Keep one task's outcome or progress; returns the result. See ``record`` and ``store`` for what it raises."""
        self.store([self.record(task_id, state, result, traceback=traceback, request=request)])
        return result

    def mark_as_started(self, task_id: str, **meta: Any) -> Any:
        """Keep that a task has started, with what is said of it, such as ``pid`` and ``hostname``."""
        return self.store_result(task_id, meta, states.STARTED)

    def mark_as_done(
        self, task_id: str, result: Any, request: Any = None, store_result: bool = True, state: str = states.SUCCESS
    ) -> None:
        """Keep a task's return value. What follows a task (its chain, its chord) is ``umbel.canvas.follow_up``'s."""
        if store_result and not getattr(request, "ignore_result", False):
            self.store_result(task_id, result, state, request=request)

    def mark_as_failure(
        self,
        task_id: str,
        exc: BaseException,
        traceback: str | None = None,
        request: Any = None,
        store_result: bool = True,
        state: str = states.FAILURE,
    ) -> None:
        """Keep a task's error."""
        if store_result:
            self.store_result(task_id, exc, state, traceback=traceback, request=request)

    def mark_as_revoked(
        self,
        task_id: str,
        reason: str = "",
        request: Any = None,
        store_result: bool = True,
        state: str = states.REVOKED,
    ) -> None:
        """Keep that a task was revoked."""
        if store_result:
            self.store_result(task_id, TaskRevokedError(reason), state, request=request)

    def mark_as_retry(
        self,
        task_id: str,
        exc: BaseException,
        traceback: str | None = None,
        request: Any = None,
        store_result: bool = True,
        state: str = states.RETRY,
    ) -> Any:
        """Keep that a task is to run again, and the error that made it so."""
        return self.store_result(task_id, exc, state, traceback=traceback, request=request) if store_result else exc

    # Reading

    def get_document(self, task_id: str, cache: bool = True) -> ResultDocument:
        """What is known of a task; a ``PENDING`` document when nothing is.

        Args:
            cache: answer from memory when the task is known to have ended well. That is final; all else may change.

        Raises:
            OperationalError: the store is away.
            ContentError: what it holds cannot be read.
        """
        return self.get_documents([task_id], cache=cache)[task_id]

    def get_documents(self, task_ids: Sequence[str], cache: bool = True) -> dict[str, ResultDocument]:
        """What is known of several tasks, in one round."""
        found: dict[str, ResultDocument] = {}
        if cache and self._cache:
            with self._lock:
                found = {task_id: self._cache[task_id] for task_id in task_ids if task_id in self._cache}
        missing = [task_id for task_id in task_ids if task_id not in found]
        if missing:
            records = self.backend.fetch(missing)
            for task_id in missing:
                record = records.get(task_id)
                found[task_id] = ResultDocument(task_id) if record is None else self._open(record)
        return found

    def wait_for(self, task_ids: Sequence[str], timeout: float | None) -> dict[str, ResultDocument]:
        """Wait until at least one of these has ended; what is known of all that have.

        Without a limit it waits in pieces: with none at all, a backend gives up as soon as its store is away.

        Args:
            timeout: seconds; None waits for ever, 0 just looks. An empty dict is returned when it is over.

        Raises:
            OperationalError: the store went away and did not come back within the timeout, or within half a minute.
        """
        while True:
            found = self.backend.wait(task_ids, timeout=patience.LONGEST if timeout is None else timeout)
            if found or timeout is not None:
                return {task_id: self._open(record) for task_id, record in found.items()}

    def look(self, task_ids: Sequence[str], timeout: float) -> dict[str, ResultDocument]:
        """What is known of these now, whatever the state, from a store that answers within ``timeout`` seconds.

        Raises:
            OperationalError: it did not answer.
        """
        return {
            task_id: self._open(record) for task_id, record in self.backend.fetch(task_ids, timeout=timeout).items()
        }

    def watch(self) -> Watch:
        """What waits here on behalf of event loops, in this process."""
        watch = self._watch
        if watch is None or watch.pid != os.getpid():
            with self._lock:
                watch = self._watch
                if watch is None or watch.pid != os.getpid():
                    watch = self._watch = Watch(self)
        return watch

    def ring(self, bell: str) -> None:
        """End a wait in which ``bell`` is among the ids, by keeping a result of it for a while."""
        record = self.record(bell, states.SUCCESS, None)
        record.expires = _BELL_EXPIRES
        record.reply_to = self.backend.reply_to
        self.store([record])

    def get_task_meta(self, task_id: str, cache: bool = True) -> dict[str, Any]:
        """What is known of a task as a dict with the members of Celery's."""
        return self.get_document(task_id, cache).as_mapping()

    def get_state(self, task_id: str) -> str:
        """A task's state."""
        return self.get_document(task_id).status

    get_status = get_state

    def get_result(self, task_id: str) -> Any:
        """A task's return value, error or progress."""
        return self.get_document(task_id).result

    def get_traceback(self, task_id: str) -> str | None:
        """A failed task's traceback."""
        return self.get_document(task_id).traceback

    def get_children(self, task_id: str) -> list[Any] | None:
        """The tuples of the results of the tasks that a task has sent."""
        return self.get_document(task_id).children

    def task_result_exists(self, task_id: str) -> bool:
        """Whether anything is known of a task."""
        return task_id in self.backend.fetch([task_id])

    def reload_task_result(self, task_id: str) -> None:
        """Ask the store again for a task that is known to have ended."""
        self.get_document(task_id, cache=False)

    def is_cached(self, task_id: str) -> bool:
        """Whether the answer is in memory."""
        return task_id in self._cache

    def forget(self, task_id: str) -> None:
        """Drop what is kept of a task."""
        with self._lock:
            self._cache.pop(task_id, None)
        self.backend.forget([task_id])

    def cleanup(self) -> int:
        """Drop what has expired; returns how many, 0 where the store does so itself."""
        return self.backend.cleanup()

    # Groups and chords

    def result_from_tuple(self, data: Any) -> Any:
        """A result of this app out of plain data."""
        return result_from_tuple(data, self.app)

    def save_group(self, group_id: str, result: Any) -> Any:
        """Keep the description of a group; returns the result.

        Raises:
            NotSupported: the backend keeps no groups.
        """
        settings = self._settings
        body, _, _ = self.app.content.dumps({"result": result.as_tuple()}, settings.serializer)
        self.backend.store_group(group_id, body, expires=settings.expires)
        return result

    def restore_group(self, group_id: str, cache: bool = True) -> Any:
        """The ``GroupResult`` of a group that was saved, or None."""
        body = self.backend.fetch_group(group_id)
        if body is None:
            return None
        return result_from_tuple(self._loads(body)["result"], self.app)

    def delete_group(self, group_id: str) -> None:
        """Drop the description of a group."""
        self.backend.forget_group(group_id)

    def ensure_chords_allowed(self) -> None:
        """Refuse a chord that nobody could count.

        Raises:
            NotSupported: the backend neither counts nor lets other processes look at a result.
        """
        if not (self.can(BackendCapability.CHORDS) or self.can(BackendCapability.SHARED)):
            raise NotSupported(
                f"a chord needs a result backend that all workers can look into, and {self.as_uri()} is none; "
                f"set result_backend to one that is, such as redis or sqlite"
            )

    def begin_chord(self, group_id: str, size: int) -> None:
        """Say how many members a header has that is about to be sent."""
        self.backend.begin_chord(group_id, size, expires=self._settings.chord_expires)

    def chord_part(
        self,
        group_id: str,
        index: int,
        size: int,
        task_id: str,
        state: str,
        result: Any,
        *,
        run: str | None = None,
        fence: int = 0,
    ) -> ChordPart:
        """One member of a chord's header that has ended, to be counted by ``count_parts``.

        Args:
            run: a name of this report, the same when it is repeated; by default one that nobody has.
            fence: which run of the member it is, as in ``Record``.

        Raises:
            EncodeError: the result cannot be serialised.
        """
        settings = self._settings
        if isinstance(result, BaseException):
            result = encode_exception(result, settings.serializer)
        elif isinstance(result, ResultBase):
            result = result.as_tuple()
        # The form is that of Celery's own chord parts in Redis.
        body, _, _ = self.app.content.dumps([1, task_id, state, result], settings.serializer)
        return ChordPart(group_id, index, size, task_id, state, body, settings.chord_expires, run or uuid(), fence)

    def count_parts(self, parts: Sequence[ChordPart]) -> list[bool]:
        """Count members that have ended. Whether each is to end its chord: one is, which made the header complete, and
        the same member when it comes again before ``end_chord``.

        Raises:
            NotSupported: the backend counts no chords.
        """
        return self.backend.chord_parts(parts)

    def chord_results(self, part: ChordPart) -> list[tuple[str, str, Any]] | None:
        """The id, the state and the result of every member in order, errors decoded, for the member that is to end the
        chord; None when another one is by now, or the chord has ended.

        Raises:
            ContentError: the result of a member cannot be read.
            BackendError: some are gone.
        """
        bodies = self.backend.chord_bodies(part)
        if bodies is None:
            return None
        if len(bodies) < part.size:
            raise BackendError(f"of {part.size} members that were counted, {len(bodies)} are there")
        ended = []
        for each in bodies:
            _, member, member_state, value = self._loads(each)
            if member_state in _EXCEPTION_STATES:
                value = decode_exception(value)
            ended.append((member, member_state, value))
        return ended

    @property
    def chord_expires(self) -> float | None:
        """Seconds for which it is kept how far a chord is; None for ever."""
        return self._settings.chord_expires

    def end_chord(self, group_id: str, run: str) -> bool:
        """Whether what follows the end of a header, as this run of a member has sent it, is what counts. It is when
        this is called for the first time."""
        return self.backend.chord_end(group_id, run, expires=self._settings.chord_expires)

    def add_to_chord(self, group_id: str, size: int, member: str) -> int | None:
        """Let a header have one more member; its index, or None when the header is complete.

        Raises:
            NotSupported: the backend adds nothing to a header that was sent.
        """
        return self.backend.chord_add(group_id, size, member, expires=self._settings.chord_expires)

    def as_uri(self, include_password: bool = False) -> str:
        """Where results are kept, the password masked unless asked for."""
        url = self.backend.url
        return url.raw if include_password else url.masked()

    # Inside

    def _loads(self, body: bytes) -> Any:
        settings = self._settings
        if settings.accept is not None:
            return self.app.content.loads(
                body, settings.content_type, settings.content_encoding, accept=settings.accept
            )
        return self.app.content.loads(body, settings.content_type, settings.content_encoding)

    def read(self, record: Record) -> ResultDocument:
        """The document in a record.

        Raises:
            ContentError: it cannot be read.
        """
        settings = self._settings
        # A store that keeps bodies alone says JSON of all of them: only what it says beyond that is news.
        content_type = settings.content_type if record.content_type == JSON else record.content_type
        data = loads(self.app.content, record.body, content_type, record.content_encoding, settings.accept)
        return ResultDocument.from_mapping(data, record.task_id)

    def _open(self, record: Record) -> ResultDocument:
        document = self.read(record)
        cache_max = self._settings.cache_max
        if document.status == states.SUCCESS and cache_max != -1:
            with self._lock:
                self._cache[record.task_id] = document
                while len(self._cache) > (cache_max or 1000):
                    self._cache.popitem(last=False)
        return document


def _seconds(value: Any) -> float | None:
    """As Celery has it, 0 stands for ever, as None does."""
    if isinstance(value, timedelta):
        value = value.total_seconds()
    return float(value) if value else None


def _extended(request: Any) -> dict[str, Any]:
    delivery = getattr(request, "delivery_info", None)
    added = {
        "name": getattr(request, "task", None),
        "args": getattr(request, "args", None),
        "kwargs": getattr(request, "kwargs", None),
        "worker": getattr(request, "hostname", None),
        "retries": getattr(request, "retries", None),
        "queue": delivery.get("routing_key") if delivery else None,
    }
    stamped = getattr(request, "stamped_headers", None)
    if stamped:
        stamps = getattr(request, "stamps", None) or {}
        added["stamped_headers"] = stamped
        added.update({name: stamps[name] for name in stamped if name in stamps})
    return added
