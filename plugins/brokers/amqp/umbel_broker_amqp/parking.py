"""Messages that a consumer sends to wait, in queues of umbel's own.

There is a queue for each second up to 8, and from there for two lengths in each octave up to nine hours, each behind a
fanout exchange of the same name: ``umbel.parked.1024`` holds what it gets for 1,024 seconds, and hands it to the
default exchange. That leads it by its routing key to the queue that it came from, where any worker may take it, also
one of Celery. A consumer of umbel that gets it there too early sends it on to a shorter queue.

Celery's own queues for messages that wait, which ``delays`` describes, would do, but are meant for few messages: each
passes 28 exchanges, which takes RabbitMQ 2.7 ms, where one of these takes 0.1 ms (one run, RabbitMQ 3.10).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Sequence
from typing import Any

from umbel_broker_amqp.outlet import Outlet
from umbel_kernel.errors import ChannelError
from umbel_kernel.spi.message import Delivery, Message

logger = logging.getLogger("umbel.broker.amqp")

PARKED = "umbel-parked"
"""A header: when the message is due in milliseconds since the epoch, and the exchange and routing key that it had."""

_PLACE = "umbel.parked."
_EXACT = 8
_LONGEST = 32_768
_LAYING_OUT = 30.0
_PUBLISHING = 30.0
_TRACES = ("x-first-death", "x-last-death")


def place(seconds: float, *, quorum: bool) -> str:
    """The queue in which to wait first for so many seconds, at least one.

    Args:
        quorum: whether it is to be as safe as a quorum queue.
    """
    length = min(int(seconds), _LONGEST)
    if length > _EXACT:
        length = length >> (length.bit_length() - 2) << (length.bit_length() - 2)
    return f"{_PLACE}{'quorum.' if quorum else ''}{length}"


def parked(delivery: Delivery, seconds: float, *, quorum: bool) -> Message:
    """A delivery as a message that waits for its queue."""
    mode = delivery.properties.get("delivery_mode")
    due = round((time.time() + seconds) * 1000)
    return Message(
        delivery.body,
        delivery.queue,
        place(seconds, quorum=quorum),
        delivery.content_type,
        delivery.content_encoding,
        {**delivery.headers, PARKED: [due, delivery.exchange, delivery.routing_key]},
        delivery.correlation_id,
        delivery.reply_to,
        delivery.priority,
        mode if isinstance(mode, int) else 2,
        properties=dict(delivery.properties),
    )


def arrived(delivery: Delivery) -> float:
    """Take off what the wait has added, so that a task sees the message as it was sent.

    RabbitMQ drops a message that comes to a queue a second time by expiring, so the traces of the wait have to go.

    Returns:
        the seconds that are left until it is due.
    """
    headers = delivery.headers
    said = headers.pop(PARKED, None)
    deaths = headers.get("x-death")
    if isinstance(deaths, list):
        kept = [death for death in deaths if not (isinstance(death, dict) and _is_place(death.get("queue")))]
        if kept:
            headers["x-death"] = kept
        else:
            del headers["x-death"]
    for trace in _TRACES:
        if _is_place(headers.get(f"{trace}-queue")):
            for what in ("queue", "reason", "exchange"):
                headers.pop(f"{trace}-{what}", None)
    if not (isinstance(said, list) and [type(each) for each in said] == [int, str, str]):
        return 0.0
    due, delivery.exchange, delivery.routing_key = said
    return float(due / 1000 - time.time())


def _is_place(name: Any) -> bool:
    return isinstance(name, str) and name.startswith(_PLACE)


class Parking:
    """Where the consumers of one broker send messages to wait.

    Attributes:
        allowed: whether the server lets this user create the queues.
    """

    def __init__(self, outlet: Outlet) -> None:
        self._outlet = outlet
        self._made: tuple[int, set[str]] = (-1, set())
        self.allowed = True

    def prepare(self, places: Collection[str]) -> bool:
        """See that these queues are there. Returns whether messages can wait in them.

        Raises:
            OperationalError: the connection is lost.
        """
        epoch, made = self._made
        if epoch != self._outlet.epoch:
            made = set()
        missing = set(places) - made
        if not missing or not self.allowed:
            return self.allowed
        try:
            with self._outlet.side(_LAYING_OUT) as channel:
                for name in sorted(missing):
                    _lay_out(channel, name)
        except ChannelError as error:
            logger.warning("messages cannot be sent to wait in the broker: %s", error)
            self.allowed = False
            return False
        self._made = self._outlet.epoch, made | missing
        return True

    def send(self, messages: Sequence[Message]) -> None:
        """Publish messages that are to wait; returns when the server has them all.

        Raises:
            OperationalError: the connection is lost, or the server has not taken them all.
        """
        self._outlet.publish(messages, _PUBLISHING)


def _lay_out(channel: Any, name: str) -> None:
    """Create a queue to wait in, unless it is there."""
    arguments: dict[str, Any] = {
        "x-message-ttl": int(name.rpartition(".")[2]) * 1000,
        "x-dead-letter-exchange": "",
    }
    if name.startswith(f"{_PLACE}quorum."):
        # Handed on at most once, as classic queues do: at least once, the messages for a queue that was deleted would
        # stay here for ever and hold up all others.
        arguments["x-queue-type"] = "quorum"
    channel.exchange_declare(name, "fanout", durable=True, auto_delete=False)
    channel.queue_declare(name, durable=True, auto_delete=False, arguments=arguments)
    channel.queue_bind(name, name)
