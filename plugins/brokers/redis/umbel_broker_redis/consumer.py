"""Reads queues in batches, each moved to the ``unacked`` hash in one step, and is woken by the server."""

from __future__ import annotations

import json
import select
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from umbel_broker_redis.envelope import redelivered, unpack
from umbel_broker_redis.layout import Layout
from umbel_broker_redis.restore import overdue
from umbel_broker_redis.scripts import ALL, GIVE_BACK, TAKE
from umbel_broker_redis.wake import WakePipe
from umbel_client_redis import Address, Command, Link, run
from umbel_kernel.errors import ChannelError, OperationalError
from umbel_kernel.spi.broker import Consumer
from umbel_kernel.spi.message import Delivery

_MOST = 500
_INVALIDATE = b"__redis__:invalidate"
_LOOK_ANYWAY = 1.0
_LOOK_UNTOLD = 0.05


class Held(NamedTuple):
    """The tag of a delivery.

    Attributes:
        name: its field in the ``unacked`` hash.
        key: the list it came from; empty for what came by fanout and is held in memory only.
        raw: the bytes that lay there.
    """

    name: str
    key: str
    raw: bytes


class RedisConsumer(Consumer):
    """Takes with a script, waits on a second connection.

    The second connection is told by CLIENT TRACKING when a list changes that was read empty, and hears the fanout
    channels. A server without tracking is looked at every 50 ms.

    Args:
        channels: the pub/sub patterns to hear, and the queues that each stands for.
        on_close: called once with this consumer after it has closed.
    """

    def __init__(
        self,
        *,
        address: Address,
        layout: Layout,
        queues: Sequence[str],
        channels: Mapping[str, Sequence[str]],
        options: Mapping[str, Any],
        on_close: Callable[[RedisConsumer], None],
    ) -> None:
        self._layout = layout
        self._queues = sorted(queues) if options.get("queue_order_strategy") == "sorted" else list(queues)
        self._lists = {queue: layout.keys(queue) for queue in self._queues}
        self._tails = {queue: f',"",{json.dumps(queue)}]' for queue in self._queues}
        self._rotates = options.get("queue_order_strategy", "round_robin") == "round_robin"
        self._channels = {pattern.encode(): list(names) for pattern, names in channels.items()}
        self._on_close = on_close
        self._patience = float(options.get("socket_timeout") or 5.0)
        self._visibility = float(options.get("visibility_timeout") or 3600.0)
        self._sweep_every = min(float(options.get("unacked_restore_interval") or 10.0), max(0.05, self._visibility / 4))
        self._sweep_most = int(options.get("unacked_restore_limit") or 100)
        self._health_every = float(options.get("health_check_interval") or 25.0)
        self._tag = f"{uuid.uuid4().hex}:"
        self._number = 1
        self._held: dict[str, Held] = {}
        self._ready: deque[Delivery] = deque()
        self._wake = WakePipe()
        self._closing = threading.Lock()
        self._closed = False
        self._link = Link(address, refusal=ChannelError, scripts=ALL, kept=True)
        self._notes = Link(address, refusal=ChannelError, kept=True)
        self._told = False
        self._look = True
        self._looked = self._heard = self._swept = 0.0
        self._pinged = 0.0
        try:
            self._listen()
        except (OperationalError, ChannelError):
            self._end()
            raise

    @property
    def lease(self) -> float | None:
        """See ``Consumer.lease``."""
        return self._visibility

    def receive(self, limit: int, timeout: float | None) -> list[Delivery]:
        """See ``Consumer.receive``."""
        if self._closed:
            raise OperationalError("this consumer is closed; make a new one")
        now = time.monotonic()
        end = None if timeout is None else now + timeout
        while True:
            if now - self._swept >= self._sweep_every:
                self._sweep(now)
            if limit > 0:
                taken = self._take(min(limit, _MOST), now)
                if taken:
                    return taken
            now = time.monotonic()
            left = self._pause(now, looks=limit > 0)
            if end is not None:
                left = min(left, end - now)
            if self._wait(max(0.0, left), listen=limit > 0):
                return []
            now = time.monotonic()
            if end is not None and now >= end and not self._look:
                return []
            if end is not None and now >= end:
                return self._take(min(limit, _MOST), now) if limit > 0 else []

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        """See ``Consumer.ack``."""
        names = [tag.name for tag in self._release(deliveries) if tag.key]
        if names:
            replies = self._link.call(
                [("HDEL", self._layout.unacked, *names), ("ZREM", self._layout.index, *names)], self._patience
            )
            self._link.answer(replies[0])
            self._link.answer(replies[1])

    def reject(self, deliveries: Sequence[Delivery], *, requeue: bool, delay: float | None = None) -> None:
        """See ``Consumer.reject``. What goes back is the next to be read from its list."""
        if not requeue:
            self.ack(deliveries)
            return
        given = {tag.name: tag for tag in self._release(deliveries)}
        for delivery in reversed(deliveries):
            if delivery.tag.name in given and not delivery.tag.key:
                delivery.redelivered = True
                self._ready.appendleft(delivery)
        held = [tag for tag in given.values() if tag.key]
        if held:
            self._look = True
            for reply in self._link.call([self._return(tag) for tag in reversed(held)], self._patience):
                self._link.answer(reply)

    def extend(self, deliveries: Sequence[Delivery]) -> None:
        """See ``Consumer.extend``."""
        now = time.time()
        pairs: list[Any] = []
        for delivery in deliveries:
            if delivery.tag.name in self._held and delivery.tag.key:
                pairs += [now, delivery.tag.name]
        if pairs:
            self._link.answer(self._link.call([("ZADD", self._layout.index, "XX", *pairs)], self._patience)[0])

    def wake(self) -> None:
        """See ``Consumer.wake``."""
        self._wake.wake()

    def close(self) -> None:
        """See ``Consumer.close``."""
        with self._closing:
            if self._closed:
                return
            self._closed = True
        held = [tag for tag in self._held.values() if tag.key]
        self._held.clear()
        try:
            if held and self._link.connected:
                self._link.call([self._return(tag) for tag in reversed(held)], self._patience)
        except OperationalError:
            pass  # the server is away: what was held comes back after the visibility timeout
        self._end()
        try:
            self._on_close(self)
        except (OperationalError, ChannelError):
            return

    def _release(self, deliveries: Sequence[Delivery]) -> list[Held]:
        """The tags of those that are held here, which from now on are not."""
        return [tag for tag in (d.tag for d in deliveries) if self._held.pop(tag.name, None) is not None]

    def _end(self) -> None:
        self._closed = True
        self._link.close()
        self._notes.close()
        self._wake.close()

    def _listen(self) -> None:
        self._link.connect(self._patience)
        number = self._notes.ask("CLIENT", "ID", timeout=self._patience)
        try:
            self._link.ask("CLIENT", "TRACKING", "ON", "REDIRECT", number, "NOLOOP", timeout=self._patience)
            self._told = True
            self._notes.send("SUBSCRIBE", _INVALIDATE, timeout=self._patience)
            self._notes.answer(self._notes.read(self._patience))
        except ChannelError:
            self._told = False
        if self._channels:
            self._notes.send("PSUBSCRIBE", *self._channels, timeout=self._patience)
            for _ in self._channels:
                self._notes.answer(self._notes.read(self._patience))
        self._heard = time.monotonic()

    def _take(self, limit: int, now: float) -> list[Delivery]:
        """What is there now, up to ``limit``, without waiting."""
        if self._channels or self._told:
            self._hear()
        taken: list[Delivery] = []
        while self._ready and len(taken) < limit:
            taken.append(self._ready.popleft())
            self._held[taken[-1].tag.name] = taken[-1].tag
        room = limit - len(taken)
        if room and self._queues and (self._look or now - self._looked >= self._look_every()):
            taken += self._pop(room)
            self._looked = now
        return taken

    def _pop(self, limit: int) -> list[Delivery]:
        layout = self._layout
        owners = self._queues * len(layout.steps)
        keys = [self._lists[queue][step] for step in range(len(layout.steps)) for queue in self._queues]
        tails = [self._tails[queue] for queue in owners]
        reply = self._link.answer(
            self._link.call(
                [run(TAKE, (layout.unacked, layout.index, *keys), limit, time.time(), self._tag, self._number, *tails)],
                self._patience,
            )[0]
        )
        taken: list[Delivery] = []
        for place, raw in zip(reply[::2], reply[1::2], strict=True):
            tag = Held(f"{self._tag}{self._number}", keys[place], raw)
            self._number += 1
            self._held[tag.name] = tag
            taken.append(unpack(raw, owners[place], tag))
        self._look = bool(taken) or not self._told
        if taken and self._rotates and len(self._queues) > 1:
            self._queues.remove(taken[-1].queue)
            self._queues.append(taken[-1].queue)
        return taken

    def _hear(self) -> None:
        """Read what the server has pushed, without waiting."""
        while self._notes.readable():
            pushed = self._notes.answer(self._notes.read(self._patience))
            self._heard = time.monotonic()
            self._pinged = 0.0
            if not isinstance(pushed, list) or not pushed:
                continue
            if pushed[0] == b"message" and pushed[1] == _INVALIDATE:
                self._look = True
            elif pushed[0] == b"pmessage":
                for queue in self._channels.get(pushed[1], ()):
                    self._ready.append(unpack(pushed[3], queue, Held(f"{self._tag}{self._number}", "", pushed[3])))
                    self._number += 1

    def _wait(self, seconds: float, *, listen: bool) -> bool:
        """Wait for a push or for ``wake``. Returns whether it was ``wake``."""
        if listen and self._notes.readable():
            self._hear()
            if self._look or self._ready:
                seconds = 0.0
        poller = select.poll()
        poller.register(self._wake.fileno(), select.POLLIN)
        if listen:
            poller.register(self._notes.fileno(), select.POLLIN)
        poller.poll(max(0, round(seconds * 1000 + 0.499)))
        now = time.monotonic()
        if now - max(self._heard, self._pinged) >= self._health_every:
            self._check(now)
        if self._wake.drain():
            return True
        if listen:
            self._hear()
        return False

    def _check(self, now: float) -> None:
        """Ask both connections for a sign of life after a long silence."""
        self._link.answer(self._link.call([("PING",)], self._patience)[0])
        self._hear()
        if self._pinged and self._heard < self._pinged:
            self._notes.close()
            raise OperationalError(
                f"the connection that tells of new messages was silent for {now - self._heard:.0f} s; connect again"
            )
        self._pinged = now
        self._notes.send("PING", timeout=self._patience)

    def _look_every(self) -> float:
        return _LOOK_ANYWAY if self._told else _LOOK_UNTOLD

    def _pause(self, now: float, *, looks: bool) -> float:
        """Seconds until something is due; a look at the queues is not while nothing may be taken."""
        due = self._swept + self._sweep_every
        return max(0.0, (min(self._looked + self._look_every(), due) if looks else due) - now)

    def _sweep(self, now: float) -> None:
        """Give back what others held for too long."""
        self._swept = now
        before = time.time() - self._visibility
        for reply in overdue(self._link, self._layout, before, self._sweep_most, self._patience):
            if self._link.answer(reply):
                self._look = True

    def _return(self, tag: Held) -> Command:
        keys = (self._layout.unacked, self._layout.index, tag.key)
        return run(GIVE_BACK, keys, tag.name, redelivered(tag.raw), "RPUSH", "")
