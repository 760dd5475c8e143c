"""Messages that wait in RabbitMQ until their time comes, in the queues and exchanges that Celery 5.5 and kombu lay out.

There is a level for each bit of the seconds to wait, from 27 to 0: a topic exchange ``celery_delayed_<level>`` and a
queue of the same name that holds what it gets for 2**level seconds. A routing key begins with 28 words, 0 or 1 each. At
its level a 1 leads into the queue, which hands the message on to the next level when its time is over, and a 0 leads
there at once. Behind level 0 stands the exchange ``celery_delayed_delivery``. Celery binds the exchanges of its queues
to it by ``#.<routing key>``, which works for all but direct ones. Besides, each queue is bound here by a key of its
own, so that messages straight to a queue can wait, too, and none goes to another whose name ends alike.

Source: kombu's ``native_delayed_delivery`` and https://docs.celeryq.dev, "Using RabbitMQ", native delayed delivery.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from umbel_broker_amqp.intake import is_quorum
from umbel_broker_amqp.topology import declare_exchange
from umbel_kernel.spi.message import Delivery, Message
from umbel_kernel.spi.topology import Queue

LEVELS = 28
LONGEST = 2**LEVELS - 1
"""The most seconds that a message can wait here; what is due later comes then, and is sent to wait again."""

LEVEL = "celery_delayed_"
ENTRY = f"{LEVEL}{LEVELS - 1}"
DELIVERY = f"{LEVEL}delivery"

_OWN = "umbel"
_BITS = re.compile(rf"(?:[01]\.){{{LEVELS}}}")
_LONGEST_KEY = 255
_TRACES = ("x-death", "x-first-death-queue", "x-first-death-reason", "x-first-death-exchange")
_LATER_TRACES = ("x-last-death-queue", "x-last-death-reason", "x-last-death-exchange", "x-delivery-count")


def lay_out(channel: Any, queue_type: str) -> None:
    """Create the levels, unless they are there. One answer is waited for, at the end.

    Args:
        queue_type: ``quorum`` or ``classic``.

    Raises:
        amqp.exceptions.AMQPError: the server refuses.
    """
    for level in range(LEVELS - 1, -1, -1):
        name, passed = f"{LEVEL}{level}", "*." * (LEVELS - 1 - level)
        onwards = f"{LEVEL}{level - 1}" if level else DELIVERY
        channel.exchange_declare(name, "topic", durable=True, auto_delete=False, nowait=True)
        arguments: dict[str, Any] = {
            "x-queue-type": queue_type,
            "x-overflow": "reject-publish",
            "x-message-ttl": 2**level * 1000,
            "x-dead-letter-exchange": onwards,
        }
        if queue_type == "quorum":
            arguments["x-dead-letter-strategy"] = "at-least-once"
        channel.queue_declare(name, durable=True, auto_delete=False, nowait=True, arguments=arguments)
        channel.queue_bind(name, name, f"{passed}1.#", nowait=True)
        channel.exchange_declare(onwards, "topic", durable=True, auto_delete=False, nowait=True)
        channel.exchange_bind(onwards, name, f"{passed}0.#", nowait=True)
    channel.exchange_declare(DELIVERY, "topic", passive=True)


def bind(channel: Any, queue: Queue) -> None:
    """Bind a queue to what comes out of the levels: as Celery does where that works, and by a key of our own."""
    for binding in queue.bindings:
        exchange, key = binding.exchange, binding.routing_key
        if exchange.name and exchange.type != "direct":
            declare_exchange(channel, exchange)
            pattern = key if key.startswith("#") else f"#.{key}"
            channel.exchange_bind(exchange.name, DELIVERY, pattern, nowait=True)
            channel.queue_bind(queue.name, exchange.name, pattern, nowait=True)
    if _may_wait(queue.name):
        channel.queue_bind(queue.name, DELIVERY, f"{'*.' * LEVELS}{_OWN}.{queue.name}")


def arrived(delivery: Delivery, queue: Queue | None) -> None:
    """Take off what the way through the levels has added, so that a task sees the message as it was sent.

    A retry is sent the same way, so the exchange is named only where there is no doubt.

    Args:
        queue: where it arrived, with its bindings.
    """
    headers = delivery.headers
    deaths = headers.get("x-death")
    if isinstance(deaths, list) and all(_is_level(death) for death in deaths):
        for name in (*_TRACES, *_LATER_TRACES[:3]):
            headers.pop(name, None)
    key = _BITS.sub("", delivery.routing_key, count=1)
    delivery.exchange, delivery.routing_key = "", delivery.queue
    if queue is not None and not key.startswith(f"{_OWN}."):
        ways = {binding.exchange.name for binding in queue.bindings if binding.exchange.type != "direct"} - {""}
        if len(ways) == 1:
            delivery.exchange, delivery.routing_key = ways.pop(), key


def _is_level(death: Any) -> bool:
    return isinstance(death, dict) and str(death.get("queue")).startswith(LEVEL)


def _may_wait(name: str) -> bool:
    return len(f"{'0.' * LEVELS}{_OWN}.{name}".encode()) <= _LONGEST_KEY and not {"*", "#"} & set(name.split("."))


class Delays:
    """Which queues are here, and how a message gets to wait.

    Native delays are used where quorum queues are, as in Celery.

    Args:
        queues: what the app knows.

    Attributes:
        used: whether messages wait in the broker.
    """

    def __init__(self, queues: Iterable[Queue]) -> None:
        self._known = {queue.name: queue for queue in queues}
        self.used = any(map(is_quorum, self._known.values()))

    def note(self, queue: Queue) -> None:
        """A queue was declared."""
        self._known[queue.name] = queue
        self.used = self.used or is_quorum(queue)

    def find(self, name: str) -> Queue | None:
        """The queue of this name, where it is known."""
        return self._known.get(name)

    def known(self, queue: Queue) -> bool:
        """Whether it is one of the app's, and not one by which workers and clients talk."""
        return queue.name in self._known or is_quorum(queue)

    def through(self, message: Message) -> list[Queue] | None:
        """The queues that have to be bound before a message can wait; None when it cannot wait here."""
        if message.delay is None or message.delay < 1:
            return None
        if not message.exchange:
            queue = self._known.get(message.routing_key) or Queue(message.routing_key)
            return [queue] if _may_wait(queue.name) else None
        if len(message.routing_key.encode()) + 2 * LEVELS > _LONGEST_KEY:
            return None
        found = [
            queue
            for queue in self._known.values()
            for binding in queue.bindings
            if binding.exchange.name == message.exchange and binding.exchange.type in ("topic", "fanout")
        ]
        return found or None


def waiting(message: Message) -> Message:
    """The message that waits: its time is rounded down to seconds, and whoever gets it sees to the rest.

    It does not expire on its way, since it would then come too early instead of not at all. RabbitMQ drops a message
    that comes to a queue a second time by expiring, so the traces of an earlier wait go.
    """
    seconds = min(int(message.delay or 0), LONGEST)
    key = message.routing_key if message.exchange else f"{_OWN}.{message.routing_key}"
    traces = {*_TRACES, *_LATER_TRACES}
    headers = {name: value for name, value in message.headers.items() if name not in traces}
    return replace(
        message,
        exchange=ENTRY,
        routing_key=".".join(f"{seconds:0{LEVELS}b}") + f".{_BITS.sub('', key, count=1)}",
        headers=headers,
        delay=None,
        expiration=None,
        form=None,
    )
