"""Reads queues in batches, each moved to the consumer's own hash in one step, and is woken by the server."""

from __future__ import annotations

import logging
import re
import select
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from umbel_broker_redis import preflight, temporary
from umbel_broker_redis.envelope import unpack
from umbel_broker_redis.giving_back import ALL as EVERYTHING
from umbel_broker_redis.giving_back import SOME, give_back, names_of, number_of
from umbel_broker_redis.layout import Layout
from umbel_broker_redis.lease import Lease
from umbel_broker_redis.parking import SCRIPTS as PARKING
from umbel_broker_redis.parking import Parking
from umbel_broker_redis.scripts import ALL, TAKE
from umbel_broker_redis.sweep import Sweep
from umbel_broker_redis.wake import WakePipe
from umbel_client_redis import Address, Command, Link, run
from umbel_kernel.errors import ChannelError, OperationalError
from umbel_kernel.spi.broker import Consumer, Delay, delays
from umbel_kernel.spi.message import Delivery

logger = logging.getLogger("umbel.broker.redis")

_MOST = 500
_INVALIDATE = b"__redis__:invalidate"
_LOOK_ANYWAY = 0.8  # a server that drops who was silent for its shortest limit, one second, does not drop us
_LOOK_UNTOLD = 0.05
_LONGEST = 60.0
_RUN = re.compile(rb"^run_id:(\w+)", re.MULTILINE)


class _Left(NamedTuple):
    """What a consumer whose connection was lost leaves to the one that goes on under its identity.

    Attributes:
        server: which run of which server it was; empty when it does not say.
        renewed: the monotonic time of the last renewal of the lease.
        unconfirmed: what it had acknowledged without knowing whether the server heard of it. It is acknowledged again,
            so that no task runs again for that.
    """

    server: str
    renewed: float
    unconfirmed: tuple[str, ...]


_left: dict[str, _Left] = {}
"""By identity."""


class RedisConsumer(Consumer):
    """Takes with a script, waits on a second connection.

    The second connection is told by CLIENT TRACKING when a list changes that was read empty, and hears the fanout
    channels. A server without tracking is looked at every 50 ms.

    The tag of a delivery is its field in the hash of what this consumer holds: a number that grows, and the key of the
    list it came from. What came by fanout has no list and is held here only.

    Args:
        lease: this consumer's.
        channels: the pub/sub patterns to hear, and the queues that each stands for.
        ends: the queues that end with this consumer, and how they are bound.
        on_close: called once with this consumer after it has closed.
    """

    def __init__(
        self,
        *,
        address: Address,
        layout: Layout,
        lease: Lease,
        queues: Sequence[str],
        channels: Mapping[str, Sequence[str]],
        ends: temporary.Bound,
        options: Mapping[str, Any],
        on_close: Callable[[RedisConsumer], None],
    ) -> None:
        self._address = address
        self._layout = layout
        self._lease = lease
        self._queues = sorted(queues) if options.get("queue_order_strategy") == "sorted" else list(queues)
        self._rotates = options.get("queue_order_strategy", "round_robin") == "round_robin"
        self._order()
        self._keys = {key.encode() for key in self._lists[2:]}
        self._channels = {pattern.encode(): list(names) for pattern, names in channels.items()}
        self._ends = ends
        self._on_close = on_close
        self._patience = float(options.get("socket_timeout") or 5.0)
        self._health_every = float(options.get("health_check_interval") or 25.0)
        self._number = 1
        self._held: dict[str, Delivery] = {}
        self._ready: deque[Delivery] = deque()
        self._wake = WakePipe()
        self._watched: set[int] = set()
        self._alone, self._both = select.poll(), select.poll()
        for poller in (self._alone, self._both):
            poller.register(self._wake.fileno(), select.POLLIN)
        self._closing = threading.Lock()
        self._closed = False
        self._lost = False
        self._unconfirmed: list[str] = []  # acknowledged, and the answer has not come
        self._server = ""  # which run of which server this is, where it says so
        self._resumes = lease.identity in _left  # until it has looked what is still held
        self._known = False  # whether the server has anything under this consumer's name
        self._link = Link(address, refusal=ChannelError, scripts=(*ALL, *PARKING, preflight.CHECK), kept=True)
        self._notes = Link(address, refusal=ChannelError, kept=True)
        self._sweep = Sweep(self._link, layout, lease, options, self._patience)
        self._parking = Parking(self._link, layout, lease, queues, self._patience)
        self._told = self._hears = False
        self._look = True
        self._looked = self._heard = self._pinged = 0.0
        try:
            self._listen()
        except (OperationalError, ChannelError):
            self._end()
            raise

    @property
    def lease(self) -> float | None:
        """See ``Consumer.lease``."""
        return self._lease.seconds

    @property
    def identity(self) -> str:
        """See ``Consumer.identity``."""
        return self._lease.identity

    @property
    def in_doubt(self) -> bool:
        """See ``Consumer.in_doubt``. One that goes on is not after a restart of the server: what is missing then was
        lost by the server, and nobody has it."""
        return (bool(self._held) or self._resumes or self._lost) and self._lease.over

    def receive(self, limit: int, timeout: float | None) -> list[Delivery]:
        """See ``Consumer.receive``."""
        if self._closed:
            raise OperationalError("this consumer is closed; make a new one")
        try:
            return self._receive(limit, timeout)
        except (OperationalError, ChannelError):
            self._lost = True
            raise

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        """See ``Consumer.ack``."""
        tags = self._mine(deliveries)
        stored = [tag for tag in tags if tag[-1] != ":"] if self._channels else tags
        if stored:
            self._cast(("HDEL", self._lease.key, *stored))
            self._unconfirmed += stored
        for tag in tags:
            self._held.pop(tag, None)

    def reject(self, deliveries: Sequence[Delivery], *, requeue: bool, delay: Delay = None) -> None:
        """See ``Consumer.reject``. What goes back is the next to be read from its list; what waits has come by no
        fanout."""
        if not requeue:
            self.ack(deliveries)
            return
        tags = dict.fromkeys(self._mine(deliveries))
        stored = [tag for tag in tags if tag[-1] != ":"]
        if stored and delay is not None:
            each = zip(deliveries, delays(len(deliveries), delay), strict=True)
            stored = self._park(stored, {delivery.tag: seconds for delivery, seconds in each})
        if stored:
            self._look = True
            self._give_back(stored, SOME)
        for tag in reversed(tags):
            delivery = self._held.pop(tag)
            if tag[-1] == ":":
                delivery.redelivered = True
                delivery.delivery_count = (delivery.delivery_count or 0) + 1
                self._ready.appendleft(delivery)

    def extend(self, deliveries: Sequence[Delivery]) -> None:
        """See ``Consumer.extend``. It keeps everything that this consumer holds, not these alone."""
        if not self._closed and (self._held or self._ends):
            self._renew()

    def missing(self, deliveries: Sequence[Delivery]) -> Sequence[Delivery]:
        """See ``Consumer.missing``."""
        lease, held = self._lease, self._held
        lease.trust()
        sent = time.monotonic()
        lapsed, fields = self._ask(lease.renewal, ("HKEYS", lease.key))
        lease.renewed(sent, False, False)
        self._known = True
        there = set(names_of(fields))
        for delivery in deliveries:
            if isinstance(delivery.tag, str):
                held.setdefault(delivery.tag, delivery)
        gone = [d for d in deliveries if d.tag not in there and not (isinstance(d.tag, str) and d.tag[-1:] == ":")]
        self._held = {tag: d for tag, d in held.items() if tag in there or tag[-1:] == ":"}
        # A number that was given before means another message, perhaps one whose task still runs.
        self._number = max([self._number, *(number_of(tag.encode()) + 1 for tag in (*there, *held))])
        if lapsed:
            self._note()
        strays = there - self._held.keys()
        self._resumes = False
        left = _left.pop(lease.identity, None)
        done = strays.intersection(left.unconfirmed) if left is not None else set()
        if done:
            self._ask(("HDEL", lease.key, *done))
        strays -= done
        if strays:
            self._look = True
            self._give_back(list(strays), SOME)
        return gone

    def watch(self, file: int) -> bool:
        """See ``Consumer.watch``."""
        for poller in (self._alone, self._both):
            poller.register(file, select.POLLIN)
        self._watched.add(file)
        return True

    def wake(self) -> None:
        """See ``Consumer.wake``."""
        self._wake.wake()

    def close(self) -> None:
        """See ``Consumer.close``."""
        with self._closing:
            if self._closed:
                return
            self._closed = True
        held, self._held = self._held, {}
        if self._lost and (self._known or self._unconfirmed):
            _left[self._lease.identity] = _Left(self._server, self._lease.last, tuple(self._unconfirmed))
        if not self._lost and self._link.connected:
            try:
                if self._known:
                    self._give_back([tag for tag in held if tag[-1] != ":"], EVERYTHING)
                self._parking.end()
                if self._ends:
                    temporary.drop(self._link, self._layout, self._lease.identity, self._patience)
            except (OperationalError, ChannelError) as error:
                logger.info("what %s held comes back when its lease runs out: %s", self._lease.identity, error)
        self._end()
        try:
            self._on_close(self)
        except (OperationalError, ChannelError):
            return

    def _mine(self, deliveries: Sequence[Delivery]) -> list[str]:
        """The tags of those that are held here."""
        held = self._held
        return [delivery.tag for delivery in deliveries if held.get(delivery.tag) is delivery]

    def _ask(self, *commands: Command) -> list[Any]:
        try:
            return [self._link.answer(reply) for reply in self._link.call(commands, self._patience)]
        except (OperationalError, ChannelError):
            self._lost = True
            raise

    def _cast(self, command: Command) -> None:
        """Send a command and read the reply with that of the next one."""
        try:
            self._link.cast([command], self._patience)
        except OperationalError:
            self._lost = True
            raise

    def _give_back(self, tags: Sequence[str], why: str) -> None:
        try:
            give_back(self._link, self._layout, self._lease.identity, tags, why, self._patience)
        except (OperationalError, ChannelError):
            self._lost = True
            raise

    def _park(self, tags: Sequence[str], seconds: Mapping[str, float]) -> list[str]:
        """Let those wait that have seconds to wait. Returns the others."""
        waiting = [(tag, seconds[tag]) for tag in tags if seconds[tag] > 0]
        if waiting:
            try:
                self._parking.park(waiting)
            except (OperationalError, ChannelError):
                self._lost = True
                raise
        return [tag for tag in tags if seconds[tag] <= 0]

    def _renew(self) -> None:
        sent = time.monotonic()
        (lapsed,) = self._ask(self._lease.renewal)
        self._lease.renewed(sent, bool(lapsed), bool(self._held))
        self._known = True
        if lapsed:
            self._note()

    def _note(self) -> None:
        commands = temporary.note(self._layout, self._lease.identity, self._ends)
        if commands:
            self._ask(*commands)

    def _end(self) -> None:
        self._closed = True
        self._link.close()
        self._notes.close()
        self._wake.close()

    def _listen(self) -> None:
        self._link.connect(self._patience)
        preflight.check(self._link, self._address, self._layout, self._lease.identity, self._queues, self._patience)
        try:
            number = self._notes.ask("CLIENT", "ID", timeout=self._patience)
            self._notes.send("SUBSCRIBE", _INVALIDATE, timeout=self._patience)
            self._notes.answer(self._notes.read(self._patience))
            self._link.ask("CLIENT", "TRACKING", "ON", "REDIRECT", number, "NOLOOP", timeout=self._patience)
            self._told = True
        except ChannelError as error:
            logger.info("queues are looked at every %.0f ms, as nobody tells of changes: %s", _LOOK_UNTOLD * 1e3, error)
        self._hears = self._told or bool(self._channels)
        if not self._hears:
            self._notes.close()
        if self._channels:
            self._notes.send("PSUBSCRIBE", *self._channels, timeout=self._patience)
            for _ in self._channels:
                self._notes.answer(self._notes.read(self._patience))
        said = self._link.call([("INFO", "server")], self._patience)[0]
        found = _RUN.search(said) if isinstance(said, bytes) else None
        self._server = found[1].decode() if found is not None else ""
        left = _left.get(self._lease.identity)
        if left is not None and self._server == left.server != "":
            self._lease.last = left.renewed
        if self._ends:
            self._renew()
        if self._hears:
            self._both.register(self._notes.fileno(), select.POLLIN)
        self._heard = time.monotonic()

    def _order(self) -> None:
        """The keys of ``TAKE`` in the order in which the lists are read, and queue and tail of a tag of each."""
        layout = self._layout
        steps = [layout.keys(queue) for queue in self._queues]
        each = list(zip(steps, self._queues, strict=True))
        places = [(keys[step], queue) for step in range(len(layout.steps)) for keys, queue in each]
        self._lists = (layout.consumers, self._lease.key, *(key for key, _ in places))
        self._places = [(queue, f":{key}") for key, queue in places]

    def _receive(self, limit: int, timeout: float | None) -> list[Delivery]:
        now = time.monotonic()
        end = None if timeout is None else now + timeout
        while True:
            if now >= self._sweep.due and self._sweep.run(now):
                self._look = True
            if now >= self._parking.due and self._parking.run(now):
                self._look = True
            if now >= self._lease.due and (self._held or self._ends):
                self._renew()
            if limit > 0:
                taken = self._take(min(limit, _MOST), now)
                if taken:
                    return taken
            elif now - self._looked >= _LOOK_ANYWAY:
                self._ask(("PING",))
                self._looked = now
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

    def _take(self, limit: int, now: float) -> list[Delivery]:
        """What is there now, up to ``limit``, without waiting."""
        if self._hears:
            self._hear()
        taken: list[Delivery] = []
        while self._ready and len(taken) < limit:
            taken.append(self._ready.popleft())
            self._held[taken[-1].tag] = taken[-1]
        room = limit - len(taken)
        if room and self._queues and (self._look or now - self._looked >= self._look_every()):
            taken += self._pop(room)
            self._looked = now
        return taken

    def _pop(self, limit: int) -> list[Delivery]:
        lease, held, number, places = self._lease, self._held, self._number, self._places
        sent = time.monotonic()
        (reply,) = self._ask(run(TAKE, self._lists, limit, lease.identity, lease.milliseconds, number))
        self._unconfirmed.clear()
        taken: list[Delivery] = []
        for at in range(1, len(reply), 2):
            queue, tail = places[reply[at]]
            for raw in reply[at + 1]:
                taken.append(unpack(raw, queue, f"{number}{tail}"))
                number += 1
        if taken:
            lease.renewed(sent, bool(reply[0]), bool(held))
            self._known = True
            self._number = number
            for delivery in taken:
                held[delivery.tag] = delivery
            if self._rotates and len(self._queues) > 1:
                self._queues.remove(taken[-1].queue)
                self._queues.append(taken[-1].queue)
                self._order()
        # Where less came than was asked for, the server tells when there is more.
        self._look = len(taken) >= limit or not self._told
        return taken

    def _hear(self) -> None:
        """Read what the server has pushed, without waiting."""
        heard = self._notes.pushed()
        if not heard:
            return
        self._heard = time.monotonic()
        self._pinged = 0.0
        for pushed in map(self._notes.answer, heard):
            if not isinstance(pushed, list) or not pushed:
                continue
            if pushed[0] == b"message" and pushed[1] == _INVALIDATE:
                # What the sweep has read is none of our lists. Without names, everything has changed.
                if not isinstance(pushed[2], list) or not self._keys.isdisjoint(pushed[2]):
                    self._look = True
                elif not self._parking.keys.isdisjoint(pushed[2]):
                    self._parking.told(self._heard)
            elif pushed[0] == b"pmessage":
                for queue in self._channels.get(pushed[1], ()):
                    self._ready.append(unpack(pushed[3], queue, f"{self._number}:"))
                    self._number += 1

    def _wait(self, seconds: float, *, listen: bool) -> bool:
        """Wait for a push, for ``wake``, or for what is watched. Returns whether it was one of these two."""
        listen = listen and self._hears
        waking = self._wake.fileno()
        ready = (self._both if listen else self._alone).poll(max(0, round(seconds * 1000 + 0.499)))
        now = time.monotonic()
        if now - max(self._heard, self._pinged) >= self._health_every:
            self._check(now)
        woken = watched = pushed = False
        for descriptor, _ in ready:
            if descriptor == waking:
                woken = self._wake.drain()
            elif descriptor in self._watched:
                watched = True
            else:
                pushed = True
        if pushed and listen:
            self._hear()
        return woken or watched

    def _check(self, now: float) -> None:
        """Ask both connections for a sign of life after a long silence."""
        self._ask(("PING",))
        if not self._hears:
            self._heard = now
            return
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
        """Seconds until something is due: a look at the queues, or, while nothing may be taken, a sign of life."""
        look = self._looked + (self._look_every() if looks else _LOOK_ANYWAY)
        due = min(self._sweep.due, self._parking.due, now + _LONGEST, look)
        if self._held or self._ends:
            due = min(due, self._lease.due)
        return max(0.0, due - now)
