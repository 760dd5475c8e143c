"""The Redis result backend, on Celery's keys and channels."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from umbel_backend_redis.address import address_of
from umbel_backend_redis.scripts import ALL, CHORD, CHORD_ADD, CHORD_BODIES, CHORD_END, STORE
from umbel_backend_redis.settings import SETTINGS
from umbel_backend_redis.subscriber import Subscriber
from umbel_client_redis import Link, Lost
from umbel_client_redis import run as script
from umbel_kernel.errors import BackendError, DecodeError
from umbel_kernel.spi.backend import CHORD_CLAIM, READY_STATES, Backend, BackendCapability, ChordPart, Record
from umbel_kernel.url import URL

_AT_ONCE = 500
_DAY = 86_400.0


class RedisBackend(Backend):
    """Results as strings under ``celery-task-meta-<id>``, each published on the channel of that name.

    One connection stores and fetches, a second one, opened by the first ``wait``, hears the channels for all threads.
    """

    capabilities = frozenset(
        {
            BackendCapability.PUSH,
            BackendCapability.EXPIRES,
            BackendCapability.PERSISTENT,
            BackendCapability.SHARED,
            BackendCapability.GROUPS,
            BackendCapability.CHORDS,
            BackendCapability.CHORD_GROWTH,
            BackendCapability.CHORD_SIZE,
            BackendCapability.FENCE,
        }
    )
    settings = SETTINGS

    def __init__(self, url: URL, options: Mapping[str, Any] | None = None, *, state_of: Callable[[bytes], str]) -> None:
        super().__init__(url, options, state_of=state_of)
        prefix = str(self.options.get("global_keyprefix") or "")
        if prefix and prefix[-1] not in ":_-.":
            prefix += "_"
        self._task_prefix = f"{prefix}celery-task-meta-"
        self._group_prefix = f"{prefix}celery-taskset-meta-"
        self._patience = float(self.options.get("redis_socket_timeout") or 120.0)
        # Celery's workers keep parts as the same option tells them.
        self._ordered = int(bool(self.options.get("result_chord_ordered", True)))
        address = address_of(url, self.options)
        self._link = Link(address, refusal=BackendError, scripts=ALL)
        self._subscriber = Subscriber(Link(address, refusal=BackendError), self._task_prefix, self._ready, self._find)

    def connect(self, *, timeout: float) -> None:
        """See ``Backend.connect``."""
        self._link.connect(timeout)

    def store(self, records: Sequence[Record], *, timeout: float = 5.0) -> None:
        """See ``Backend.store``. A batch is one trip; the check of what is kept and the write are one step.

        Only a JSON document says which run it is of, in its member ``fence``.
        """
        for start in range(0, len(records), _AT_ONCE):
            todo: list[tuple[Record, str]] = [(record, "") for record in records[start : start + _AT_ONCE]]
            while todo:
                keys = [self._task_prefix + record.task_id for record, _ in todo]
                arguments: list[Any] = []
                for record, seen in todo:
                    mark = f"{record.fence}:{seen}" if record.fence or seen else ""
                    arguments += (record.body, _milliseconds(record.expires), mark)
                verdicts = self._call([script(STORE, keys, *arguments)], timeout)[0]
                todo = [
                    (record, hashlib.sha1(kept, usedforsecurity=False).hexdigest())
                    for (record, _), kept in zip(todo, verdicts, strict=True)
                    if isinstance(kept, bytes) and self._replaceable(kept)
                ]

    def fetch(self, task_ids: Sequence[str], *, timeout: float = 5.0) -> dict[str, Record]:
        """See ``Backend.fetch``."""
        if not task_ids:
            return {}
        found: dict[str, Record] = {}
        bodies = self._call([("MGET", *(self._task_prefix + task_id for task_id in task_ids))], timeout)[0]
        for task_id, body in zip(task_ids, bodies, strict=True):
            if body is not None:
                found[task_id] = self._record(task_id, body)
        return found

    def wait(self, task_ids: Sequence[str], *, timeout: float | None) -> dict[str, Record]:
        """See ``Backend.wait``. Threads that wait at the same time share one connection."""
        if not task_ids:
            return {}
        if timeout is not None and timeout <= 0:
            return self._find(task_ids, self._patience)
        return self._subscriber.wait(task_ids, timeout, self._patience)

    def forget(self, task_ids: Sequence[str], *, timeout: float = 5.0) -> None:
        """See ``Backend.forget``."""
        if task_ids:
            self._call([("DEL", *(self._task_prefix + task_id for task_id in task_ids))], timeout)
            self._subscriber.forget(task_ids)

    def store_group(self, group_id: str, body: bytes, *, expires: float | None, timeout: float = 5.0) -> None:
        """See ``Backend.store_group``."""
        life = _milliseconds(expires)
        self._call([("SET", self._group_prefix + group_id, body, *(("PX", life) if life else ()))], timeout)

    def fetch_group(self, group_id: str, *, timeout: float = 5.0) -> bytes | None:
        """See ``Backend.fetch_group``."""
        body: bytes | None = self._call([("GET", self._group_prefix + group_id)], timeout)[0]
        return body

    def forget_group(self, group_id: str, *, timeout: float = 5.0) -> None:
        """See ``Backend.forget_group``."""
        self._call([("DEL", self._group_prefix + group_id)], timeout)

    def begin_chord(self, group_id: str, size: int, *, expires: float | None, timeout: float = 5.0) -> None:
        """See ``Backend.begin_chord``. A header that is sent again is counted anew."""
        keys = self._chord_keys(group_id)
        self._call([("DEL", keys[4], keys[6]), ("SET", keys[2], size, "PX", _life(expires))], timeout)

    def _chord_keys(self, group_id: str) -> tuple[str, ...]:
        """Parts, difference to the size, size, parts seen, and claim, where Celery has them; then, of our own, runs of
        parts, the run that counts, and members that were added."""
        return tuple(f"{self._group_prefix}{group_id}.{kind}" for kind in "jtsdcfea")

    def chord_parts(self, parts: Sequence[ChordPart], *, timeout: float = 5.0) -> list[bool]:
        """See ``Backend.chord_parts``. Parts of one header are counted in one step. When the connection breaks under
        it, it asks again and gets the same answer."""
        answers = [False] * len(parts)
        for start in range(0, len(parts), _AT_ONCE):
            headers: dict[tuple[str, int, float | None], list[int]] = {}
            for at, part in enumerate(parts[start : start + _AT_ONCE], start):
                headers.setdefault((part.group_id, part.size, part.expires), []).append(at)
            commands = []
            for (group_id, size, expires), places in headers.items():
                arguments: list[Any] = [size, _life(expires), _milliseconds(CHORD_CLAIM), self._ordered]
                for part in (parts[at] for at in places):
                    success = int(part.state == "SUCCESS")
                    member = f"{part.task_id}:{part.index}"
                    arguments += (part.index, part.body, part.run, member, success, part.fence)
                commands.append(script(CHORD, self._chord_keys(group_id), *arguments))
            for places, told in zip(headers.values(), self._call_again(commands, timeout), strict=True):
                for at, mine in zip(places, told, strict=True):
                    answers[at] = bool(mine)
        return answers

    def chord_bodies(self, part: ChordPart, *, timeout: float = 5.0) -> list[bytes] | None:
        """See ``Backend.chord_bodies``."""
        arguments = (part.run, part.index, _milliseconds(CHORD_CLAIM), self._ordered)
        command = script(CHORD_BODIES, self._chord_keys(part.group_id), *arguments)
        bodies: list[bytes] | None = self._call_again([command], timeout)[0]
        return bodies

    def chord_end(self, group_id: str, run: str, *, expires: float | None, timeout: float = 5.0) -> bool:
        """See ``Backend.chord_end``."""
        command = script(CHORD_END, self._chord_keys(group_id), run, _life(expires))
        return bool(self._call_again([command], timeout)[0])

    def chord_add(
        self, group_id: str, size: int, member: str, *, expires: float | None, timeout: float = 5.0
    ) -> int | None:
        """See ``Backend.chord_add``."""
        command = script(CHORD_ADD, self._chord_keys(group_id), size, member, _life(expires))
        index = int(self._call_again([command], timeout)[0])
        return None if index < 0 else index

    def _call_again(self, commands: Sequence[tuple[Any, ...]], timeout: float) -> list[Any]:
        """Run what may be run twice, and again when the connection broke under it."""
        end = time.monotonic() + timeout
        try:
            return self._call(commands, timeout)
        except Lost:
            return self._call(commands, max(0.1, end - time.monotonic()))

    def close(self) -> None:
        """See ``Backend.close``."""
        self._subscriber.close()
        self._link.close()

    def _call(self, commands: Sequence[tuple[Any, ...]], timeout: float) -> list[Any]:
        return [self._link.answer(reply) for reply in self._link.call(commands, timeout)]

    def _find(self, task_ids: Sequence[str], timeout: float) -> dict[str, Record]:
        """Those that are in a ready state now."""
        found = self.fetch(task_ids, timeout=timeout)
        return {task_id: record for task_id, record in found.items() if record.state in READY_STATES}

    def _ready(self, task_id: str, body: bytes) -> Record | None:
        """The record that was published, if its state is a ready one."""
        record = self._record(task_id, body)
        return record if record.state in READY_STATES else None

    def _record(self, task_id: str, body: bytes) -> Record:
        try:
            return Record(task_id, self.state_of(body), body)
        except DecodeError as error:
            raise BackendError(f"the result of {task_id} in {self.url.masked()} cannot be read: {error}") from error

    def _replaceable(self, kept: bytes) -> bool:
        """Whether a document that the server could not read is no success; one that nobody can read may go."""
        try:
            return self.state_of(kept) != "SUCCESS"
        except DecodeError:
            return True


def _milliseconds(seconds: float | None) -> int:
    """For the server; 0 stands for ever."""
    return 0 if seconds is None or seconds <= 0 else max(1, round(seconds * 1000))


def _life(expires: float | None) -> int:
    """How long to keep a chord, in milliseconds: never for ever."""
    return _milliseconds(expires if expires else _DAY)
