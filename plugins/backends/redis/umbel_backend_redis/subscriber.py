"""Hears the results that many threads wait for on one connection."""

from __future__ import annotations

import select
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from umbel_client_redis import Command, Link, Pushed
from umbel_kernel.errors import BackendError, OperationalError
from umbel_kernel.spi.backend import Record

_LOOK_AGAIN = 10.0
_LINGER = 30.0
_LONGEST = 5.0
_PAUSES = (0.02, 0.05, 0.1, 0.2, 0.5)
_AT_ONCE = 1000
_MOST_LEFT = 100


class Topic:
    """What is known of one id whose channel is subscribed.

    Attributes:
        heard: whether the server has confirmed the subscription.
        looked: whether the store was read since then, so that nothing can have been missed.
        record: the outcome, when it is there.
        waiters: how many threads wait for it.
        since: when the last of them left.
    """

    __slots__ = ("heard", "looked", "record", "since", "waiters")

    def __init__(self) -> None:
        self.heard = False
        self.looked = False
        self.record: Record | None = None
        self.waiters = 0
        self.since = 0.0


class Subscriber:
    """Subscribes first, looks then, listens after: nothing falls in between.

    Of the threads that wait, one reads the connection for all; when it has what it wants, another one takes over. So
    a lone waiter is woken by the socket itself. A subscription outlives its wait for a while, so that waiting for the
    rest of many results does not subscribe to all of them again.

    Where server and reader know RESP3, one trip subscribes and looks. In RESP2 a connection that listens cannot ask, so
    the look is a trip of its own, on the store's connection.

    Args:
        link: a connection of its own.
        prefix: what comes before the id in a channel's name.
        ready: makes a record of a published document, or None when it is no ready one.
        find: reads the store.
    """

    def __init__(
        self,
        link: Link,
        prefix: str,
        ready: Callable[[str, bytes], Record | None],
        find: Callable[[Sequence[str], float], dict[str, Record]],
    ) -> None:
        self._link = link
        self._prefix = prefix
        self._start = len(prefix.encode())
        self._ready = ready
        self._find = find
        self._turn = threading.Condition(threading.Lock())
        self._topics: dict[str, Topic] = {}
        self._sent: set[str] = set()
        self._left: list[str] = []
        self._may_ask = Pushed is not None
        self._asks = False
        self._asked: deque[Sequence[str]] = deque()
        self._life = 0
        self._reading = False
        self._connected = False
        self._swept = time.monotonic()

    def wait(self, task_ids: Sequence[str], timeout: float | None, patience: float) -> dict[str, Record]:
        """See ``Backend.wait``; ``patience`` is how long the store may take to answer."""
        wanted = list(dict.fromkeys(task_ids))
        end = None if timeout is None else time.monotonic() + timeout
        failures = 0
        with self._turn:
            topics = self._join(wanted)
        try:
            while True:
                try:
                    return self._until(wanted, topics, end, patience)
                except OperationalError:
                    now = time.monotonic()
                    pause = _PAUSES[min(failures, len(_PAUSES) - 1)]
                    if end is None or now + pause >= end:
                        raise
                    failures += 1
                    time.sleep(pause)
        finally:
            with self._turn:
                self._leave(wanted)

    def forget(self, task_ids: Sequence[str]) -> None:
        """Drop what was heard of these."""
        with self._turn:
            for task_id in task_ids:
                topic = self._topics.get(task_id)
                if topic is not None:
                    topic.record = None
                    topic.looked = False

    def close(self) -> None:
        """Close the connection; never raises."""
        self._link.close()

    def _until(
        self, wanted: Sequence[str], topics: dict[str, Topic], end: float | None, patience: float
    ) -> dict[str, Record]:
        again = time.monotonic() + _LOOK_AGAIN
        while True:
            now = time.monotonic()
            left = _LONGEST if end is None else min(_LONGEST, end - now)
            with self._turn:
                self._subscribe(wanted, max(0.05, min(patience, left)))
                found = {task_id: t.record for task_id, t in topics.items() if t.record is not None}
                if found:
                    return found
                now = time.monotonic()
                if end is not None and now >= end:
                    return {}
                if now >= again:
                    again = now + _LOOK_AGAIN
                    for topic in topics.values():
                        topic.looked = False
                heard = all(topic.heard for topic in topics.values())
                heard = heard and not self._asked
                look = [task_id for task_id, t in topics.items() if t.heard and not t.looked] if heard else []
                left = again - now if end is None else min(end, again) - now
                if not look and self._reading:
                    self._turn.wait(left)
                    continue
                if not look:
                    self._reading = True
            if look:
                self._look(look, topics, patience if end is None else max(0.05, min(patience, end - now)))
            else:
                self._listen(left)

    def _look(self, look: Sequence[str], topics: dict[str, Topic], timeout: float) -> None:
        """Read the store. A look counts when it is over, and only if no subscription was lost meanwhile."""
        for start in range(0, len(look), _AT_ONCE):
            part = look[start : start + _AT_ONCE]
            life = self._life
            found = self._find(part, timeout)
            with self._turn:
                for task_id in part:
                    topics[task_id].looked = topics[task_id].looked or life == self._life
                for task_id, record in found.items():
                    topics[task_id].record = record

    def _listen(self, seconds: float) -> None:
        """Wait for the connection and read what came; this thread is the one that reads."""
        try:
            with self._turn:
                heard = self._hear()
                descriptor = self._link.fileno()
            if not heard and descriptor >= 0:
                poller = select.poll()
                poller.register(descriptor, select.POLLIN)
                poller.poll(max(1, round(seconds * 1000 + 0.499)))
                with self._turn:
                    self._hear()
        finally:
            with self._turn:
                self._reading = False
                self._turn.notify_all()

    def _hear(self) -> bool:
        """Read what has come, without waiting. Returns whether there was anything."""
        try:
            came = self._link.pushed()
        except OperationalError:
            self._lost()
            raise
        for pushed in came:
            if self._asks and isinstance(pushed, Exception):
                # Something is refused. One by one, on a connection that does not ask, it is told what.
                self._may_ask = False
                self._link.close()
                self._lost()
                return True
            if self._asks and type(pushed) is not Pushed:
                self._found(pushed)
            else:
                self._take(self._link.answer(pushed))
        return bool(came)

    def _found(self, reply: Any) -> None:
        """Take in the answer to a look that went with a subscription."""
        for task_id, body in zip(self._asked.popleft(), reply, strict=True):
            topic = self._topics.get(task_id)
            if topic is not None:
                topic.looked = True
                if body is not None:
                    self._keep(task_id, topic, body)

    def _keep(self, task_id: str, topic: Topic, body: bytes) -> None:
        try:
            topic.record = self._ready(task_id, body) or topic.record
        except BackendError:
            topic.looked = False  # who waits for it reads the store and hears of the fault there

    def _take(self, pushed: object) -> None:
        if not isinstance(pushed, list) or len(pushed) < 3 or not isinstance(pushed[1], bytes):
            return
        task_id = pushed[1][self._start :].decode("utf-8", "replace")
        topic = self._topics.get(task_id)
        if topic is None:
            return
        if pushed[0] == b"subscribe":
            topic.heard = True
        elif pushed[0] == b"message" and isinstance(pushed[2], bytes):
            self._keep(task_id, topic, pushed[2])

    def _subscribe(self, wanted: Sequence[str], patience: float) -> None:
        """Connect when need be and subscribe to what is not subscribed to."""
        if not self._connected or not self._link.connected:
            self._lost()
            self._link.connect(patience)
            self._asks = self._may_ask and self._greet(patience)
            self._connected = True
            missing = list(self._topics)
        else:
            missing = [task_id for task_id in wanted if task_id not in self._sent]
        if not missing:
            return
        try:
            left, self._left = self._left, []
            commands = [self._command("UNSUBSCRIBE", left)] if left else []
            for start in range(0, len(missing), _AT_ONCE):
                part = missing[start : start + _AT_ONCE]
                commands.append(self._command("SUBSCRIBE", part))
                if self._asks:
                    commands.append(self._command("MGET", part))
                    self._asked.append(part)
            self._link.send_all(commands, timeout=patience)
            self._sent.update(missing)
        except OperationalError:
            self._lost()
            raise

    def _greet(self, patience: float) -> bool:
        """Agree on RESP3. Returns whether the server knows it."""
        try:
            self._link.ask("HELLO", "3", timeout=patience)
        except BackendError:
            return False
        return True

    def _command(self, name: str, task_ids: Sequence[str]) -> Command:
        return (name, *(self._prefix + task_id for task_id in task_ids))

    def _lost(self) -> None:
        """Nothing is subscribed to any more, and everything has to be looked at again."""
        self._connected = False
        self._life += 1
        self._sent = set()
        self._left = []
        self._asked.clear()
        for topic in self._topics.values():
            topic.heard = topic.looked = False

    def _join(self, wanted: Sequence[str]) -> dict[str, Topic]:
        joined: dict[str, Topic] = {}
        for task_id in wanted:
            topic = joined[task_id] = self._topics.setdefault(task_id, Topic())
            topic.waiters += 1
        return joined

    def _leave(self, wanted: Sequence[str]) -> None:
        now = time.monotonic()
        gone: list[str] = []
        for task_id in wanted:
            topic = self._topics[task_id]
            topic.waiters -= 1
            topic.since = now
            if not topic.waiters and topic.record is not None:
                gone.append(task_id)
        if now - self._swept >= _LINGER:
            self._swept = now
            gone += [t for t, topic in self._topics.items() if not topic.waiters and now - topic.since >= _LINGER]
        for task_id in gone:
            self._topics.pop(task_id, None)
        if gone and self._connected:
            # Said with the next subscription, which costs nothing more; a few in vain cost the server next to nothing.
            self._sent.difference_update(gone)
            self._left += gone
            if len(self._left) > _MOST_LEFT:
                left, self._left = self._left, []
                try:
                    self._link.send_all([self._command("UNSUBSCRIBE", left)], timeout=1.0)
                except OperationalError:
                    self._lost()
        self._turn.notify_all()
