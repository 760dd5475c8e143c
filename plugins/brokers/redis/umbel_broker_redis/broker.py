"""The Redis broker, on the key layout of kombu's Redis transport."""

from __future__ import annotations

import itertools
import threading
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from umbel_broker_redis.address import address_of
from umbel_broker_redis.consumer import RedisConsumer
from umbel_broker_redis.envelope import pack
from umbel_broker_redis.layout import Layout, topic_matches
from umbel_broker_redis.lease import Lease
from umbel_broker_redis.outlet import Outlet
from umbel_broker_redis.scripts import KEEP_BINDING
from umbel_broker_redis.settings import SETTINGS
from umbel_broker_redis.template import Template
from umbel_broker_redis.temporary import unbind
from umbel_client_redis import Command, Lost, run
from umbel_kernel.errors import ChannelError, ConfigurationError, NotSupported, OperationalError, PublishError
from umbel_kernel.spi.broker import Broker, BrokerCapability
from umbel_kernel.spi.message import Form, Message
from umbel_kernel.spi.topology import Exchange, Queue
from umbel_kernel.url import URL

_AT_ONCE = 500
_MOST_TEMPLATES = 512
_LEAST_BINDING_LIFE = 3_600_000
_LONGEST_LEASE = 86_400.0


class RedisBroker(Broker):
    """Queues as Redis lists; Celery's clients and workers may share them.

    What a consumer takes moves in one step into a hash of its own, from where any other consumer gives it back when
    the holder has shown no sign of life for ``lease`` seconds. Fanout is pub/sub: it reaches who listens, and keeps
    nothing.
    """

    capabilities = frozenset(
        {
            BrokerCapability.TOPIC,
            BrokerCapability.FANOUT,
            BrokerCapability.PRIORITY,
            BrokerCapability.PARK,
            BrokerCapability.LEASE,
            BrokerCapability.CONFIRM,
            BrokerCapability.ATOMIC_RECEIVE,
            BrokerCapability.DELIVERY_COUNT,
            BrokerCapability.PERSISTENT,
            BrokerCapability.SHARED,
            BrokerCapability.SIZE,
        }
    )
    settings = SETTINGS

    def __init__(self, url: URL, options: Mapping[str, Any] | None = None) -> None:
        super().__init__(url, options)
        self._address = address_of(url, self.options)
        self._layout = Layout(self.options, self._address.db)
        self._lease = float(self.options.get("lease") or 10.0)
        if not 0 < self._lease < _LONGEST_LEASE:
            raise ConfigurationError(f"lease is a number of seconds over 0 and up to a day, not {self._lease}")
        self._outlet = Outlet(self._address, waits=bool(self.options.get("confirm_publish")))
        self._lock = threading.Lock()
        self._types: dict[str, str] = {"": "direct"}
        self._expires: dict[str, int] = {}
        self._fanouts: dict[str, set[tuple[str, str]]] = {}
        self._bound: dict[str, set[tuple[str, str]]] = {}
        self._consumers: set[RedisConsumer] = set()
        self._tag = f"{uuid.uuid4()}-"
        self._number = itertools.count(1)
        self._templates: dict[Form, Template | None] = {}

    def connect(self, *, timeout: float) -> None:
        """See ``Broker.connect``."""
        self._outlet.connect(timeout)

    def declare(self, queues: Sequence[Queue], *, timeout: float = 5.0) -> None:
        """See ``Broker.declare``. A list needs no declaration; this writes the bindings."""
        commands: list[Command] = []
        for queue in queues:
            expires = queue.expires * 1000 if queue.expires is not None else queue.arguments.get("x-expires")
            if expires is not None:
                self._expires[queue.name] = int(expires)
            else:
                self._expires.pop(queue.name, None)
            for binding in queue.bindings:
                if binding.exchange.name:
                    commands += self._binding(queue.name, binding.exchange, binding.routing_key)
        if commands:
            self._all(commands, timeout)

    def bind(self, queue: str, exchange: Exchange, routing_key: str = "", *, timeout: float = 5.0) -> None:
        """See ``Broker.bind``."""
        if exchange.name:
            self._all(self._binding(queue, exchange, routing_key), timeout)

    def delete(self, queues: Sequence[str], *, timeout: float = 5.0) -> None:
        """See ``Broker.delete``. Only the bindings that this broker knows of are taken away."""
        commands: list[Command] = [("DEL", *self._layout.all_keys(queue)) for queue in queues]
        names = [name for name in self._types if name]
        tables = self._all([("SMEMBERS", self._layout.bindings(name)) for name in names], timeout) if names else []
        gone = set(queues)
        for name, members in zip(names, tables, strict=True):
            for member in members:
                parts = self._layout.split(member)
                if parts is not None and parts[2] in gone:
                    commands.append(unbind(self._layout, name, member))
        if commands:
            self._all(commands, timeout)
        for queue in queues:
            self._expires.pop(queue, None)
            self._fanouts.pop(queue, None)
            self._bound.pop(queue, None)

    def purge(self, queues: Sequence[str], *, timeout: float = 5.0) -> int:
        """See ``Broker.purge``. What waits for its time goes, too."""
        commands: list[Command] = []
        for queue in queues:
            for key in self._layout.keys(queue):
                parked = self._layout.parked(key)
                commands += [("LLEN", key), ("DEL", key), ("ZCARD", parked), ("DEL", parked)]
        return sum(self._all(commands, timeout)[::2])

    def size(self, queues: Sequence[str], *, timeout: float = 5.0) -> dict[str, int]:
        """See ``Broker.size``. What waits for its time counts, too."""
        commands: list[Command] = []
        for queue in queues:
            for key in self._layout.keys(queue):
                commands += [("LLEN", key), ("ZCARD", self._layout.parked(key))]
        replies = iter(self._all(commands, timeout))
        return {queue: sum(next(replies) for _ in range(2 * len(self._layout.steps))) for queue in queues}

    def publish(self, messages: Sequence[Message], *, timeout: float = 5.0) -> None:
        """See ``Broker.publish``. All messages of a batch for one list go in one command, all commands in one trip."""
        if len(messages) == 1 and self._is_direct(messages[0]):
            self._outlet.send(messages[0], *self._written(messages[0]), timeout)
            return
        self._outlet.settle(timeout, messages)
        layout = self._layout
        try:
            tables = self._tables({m.exchange for m in messages if m.exchange}, timeout)
        except OperationalError as error:
            raise PublishError(str(error), messages) from error
        values: dict[str, list[bytes]] = {}
        owners: dict[str, list[Message]] = {}
        commands: list[Command] = []
        senders: list[Sequence[Message]] = []
        queues: dict[str, str] = {}
        straight: dict[tuple[str, int | None], tuple[list[bytes], list[Message]]] = {}
        for message in messages:
            raw = self._pack(message, self._template(message))
            exchange = message.exchange
            if not exchange:
                line = straight.get((message.routing_key, message.priority))
                if line is None:
                    queue = message.routing_key
                    key = layout.key(queue, message.priority)
                    queues[key] = queue
                    line = values.setdefault(key, []), owners.setdefault(key, [])
                    straight[queue, message.priority] = line
                line[0].append(raw)
                line[1].append(message)
                continue
            kind = self._types.get(exchange)
            if kind == "fanout":
                commands.append(("PUBLISH", layout.channel(exchange, message.routing_key), raw))
                senders.append((message,))
                continue
            targets = self._routes(kind, tables[exchange], message.routing_key)
            if kind is None and self._heard(exchange, message.routing_key, raw, timeout):
                continue
            for queue in targets:
                key = layout.key(queue, message.priority)
                queues[key] = queue
                values.setdefault(key, []).append(raw)
                owners.setdefault(key, []).append(message)
        for key, pushed in values.items():
            for start in range(0, len(pushed), _AT_ONCE):
                commands.append(("LPUSH", key, *pushed[start : start + _AT_ONCE]))
                senders.append(owners[key][start : start + _AT_ONCE])
            expires = self._expires.get(queues[key])
            if expires is not None:
                commands += [("PEXPIRE", each, expires) for each in layout.keys(queues[key])]
                senders += [()] * len(layout.steps)
        if commands:
            self._push(messages, commands, senders, timeout)

    def post(self, messages: Sequence[Message], *, timeout: float = 5.0) -> None:
        """See ``Broker.post``. Only messages that come one by one in quick succession do not wait; see ``Outlet``."""
        if len(messages) == 1 and self._is_direct(messages[0]):
            self._outlet.post(messages[0], *self._written(messages[0]), timeout)
        else:
            self.publish(messages, timeout=timeout)

    def flush(self, *, timeout: float = 5.0) -> None:
        """See ``Broker.flush``."""
        self._outlet.settle(timeout)

    @property
    def waiting(self) -> bool:
        """See ``Broker.waiting``."""
        return self._outlet.waiting

    def consumer(
        self, queues: Sequence[Queue], *, prefetch: int = 0, name: str = "", identity: str = ""
    ) -> RedisConsumer:
        """See ``Broker.consumer``. Nothing is sent ahead: ``receive`` takes what it is asked for."""
        channels: dict[str, list[str]] = {}
        temporary: list[str] = []
        for queue in queues:
            heard = {(b.exchange.name, b.routing_key) for b in queue.bindings if b.exchange.type == "fanout"}
            heard |= self._fanouts.get(queue.name, set())
            for pattern in {p for exchange, _ in heard for p in self._layout.patterns(exchange)}:
                channels.setdefault(pattern, []).append(queue.name)
            if queue.exclusive or (heard and queue.auto_delete):
                temporary.append(queue.name)
        consumer = RedisConsumer(
            address=self._address,
            layout=self._layout,
            lease=Lease(self._layout, self._lease, name=name, identity=identity),
            queues=[queue.name for queue in queues],
            channels=channels,
            ends={queue: frozenset(self._bound.get(queue, ())) for queue in temporary},
            options=self.options,
            on_close=lambda gone: self._forget(gone, temporary),
        )
        with self._lock:
            self._consumers.add(consumer)
        return consumer

    def close(self) -> None:
        """See ``Broker.close``."""
        with self._lock:
            consumers = list(self._consumers)
        for consumer in consumers:
            consumer.close()
        self._outlet.close(1.0)

    def _forget(self, consumer: RedisConsumer, temporary: Sequence[str]) -> None:
        with self._lock:
            self._consumers.discard(consumer)
        if temporary:
            self.delete(temporary)

    def _binding(self, queue: str, exchange: Exchange, routing_key: str) -> list[Command]:
        if exchange.type not in ("direct", "topic", "fanout"):
            raise NotSupported(
                f"exchange {exchange.name!r} is of type {exchange.type!r}; this broker has direct, topic and fanout"
            )
        known = self._types.setdefault(exchange.name, exchange.type)
        if known != exchange.type:
            raise ChannelError(f"exchange {exchange.name!r} is declared as {known}, and now as {exchange.type}")
        if exchange.type == "fanout":
            self._fanouts.setdefault(queue, set()).add((exchange.name, routing_key))
        layout = self._layout
        table, member = layout.bindings(exchange.name), layout.member(exchange.type, routing_key, queue)
        self._bound.setdefault(queue, set()).add((exchange.name, member))
        expires = self._expires.get(queue)
        if expires is not None:
            life = max(2 * expires, _LEAST_BINDING_LIFE)
            return [run(KEEP_BINDING, (table, layout.deadlines), member, exchange.name, life)]
        return [("SADD", table, member), ("SADD", layout.permanent(exchange.name), member)]

    def _all(self, commands: Sequence[Command], timeout: float) -> list[Any]:
        return self._outlet.answers(commands, timeout)

    def _tables(self, exchanges: Iterable[str], timeout: float) -> dict[str, list[tuple[str, str, str]]]:
        """The bindings of these exchanges, as they are now; those of a fanout are not needed."""
        names = [name for name in exchanges if self._types.get(name) != "fanout"]
        if not names:
            return {}
        replies = self._all([("SMEMBERS", self._layout.bindings(name)) for name in names], timeout)
        split = self._layout.split
        return {
            name: [parts for parts in map(split, members) if parts is not None]
            for name, members in zip(names, replies, strict=True)
        }

    def _routes(self, kind: str | None, table: Sequence[tuple[str, str, str]], routing_key: str) -> set[str]:
        """The queues that a message goes to. Where others declared the exchange, a pattern says that it is a topic."""
        return {
            queue
            for key, pattern, queue in table
            if queue and (topic_matches(key, routing_key) if pattern and kind != "direct" else key == routing_key)
        }

    def _heard(self, exchange: str, routing_key: str, raw: bytes, timeout: float) -> bool:
        """Whether an exchange that others declared is a fanout that somebody listens to; if so, they have it now.

        The layout does not tell a fanout's bindings from a direct exchange's; who listens does.
        """
        return bool(self._all([("PUBLISH", self._layout.channel(exchange, routing_key), raw)], timeout)[0])

    def _is_direct(self, message: Message) -> bool:
        """Whether the message takes no more than one push to one list."""
        return not message.exchange and message.routing_key not in self._expires

    def _written(self, message: Message) -> tuple[bytes, bytes]:
        """The key of the message's list, and its envelope."""
        template = self._template(message)
        if template is not None:
            return template.key, self._pack(message, template)
        return self._layout.key(message.routing_key, message.priority).encode(), self._pack(message)

    def _template(self, message: Message) -> Template | None:
        """The template of the message's form; None for the first message of a form, which may be the only one."""
        form = message.form
        if form is None:
            return None
        found = self._templates.get(form)
        if found is None:
            if form not in self._templates:
                if len(self._templates) >= _MOST_TEMPLATES:
                    self._templates.clear()
                self._templates[form] = None
                return None
            key = self._layout.key(message.routing_key, message.priority)
            found = self._templates[form] = Template(message, key)
        return found

    def _pack(self, message: Message, template: Template | None = None) -> bytes:
        tag = f"{self._tag}{next(self._number)}"
        try:
            if template is not None:
                return template.envelope(message, tag)
            return pack(message, message.exchange, tag)
        except (TypeError, ValueError) as error:
            raise PublishError(f"a message for {message.routing_key!r} cannot be sent: {error}", (message,)) from error

    def _push(
        self,
        messages: Sequence[Message],
        commands: Sequence[Command],
        senders: Sequence[Sequence[Message]],
        timeout: float,
    ) -> None:
        reason, cause = "", None
        try:
            replies: Sequence[Any] = self._outlet.call(commands, timeout)
        except Lost as error:
            reason, cause, replies = str(error), error, error.replies
        except OperationalError as error:
            raise PublishError(str(error), messages) from error
        lost: set[int] = set()
        for number, sent in enumerate(senders):
            try:
                if number < len(replies):
                    self._outlet.answer(replies[number])
                else:
                    lost.update(map(id, sent))
            except (ChannelError, OperationalError) as error:
                reason = reason or str(error)
                lost.update(map(id, sent))
        if lost:
            failed = [message for message in messages if id(message) in lost]
            taken = len(messages) - len(failed)
            raise PublishError(f"{len(failed)} of {len(messages)} were not taken: {reason}", failed, taken) from cause
