"""The mailbox of a worker: reads remote control commands in a thread of its own, and answers.

The format is kombu's pidbox: commands come by the fanout exchange ``celery.pidbox``, answers go to the
exchange and the routing key that a command names.
"""

from __future__ import annotations

import fnmatch
import json
import logging
import threading
from collections.abc import Callable
from typing import Any

from umbel.app.control import PIDBOX
from umbel_kernel.errors import ContentError, OperationalError, UmbelError
from umbel_kernel.spi.broker import Broker, Consumer
from umbel_kernel.spi.message import Delivery, Message
from umbel_kernel.spi.topology import Binding, Queue

logger = logging.getLogger("umbel.worker.control")

_LARGEST = 1 << 20
_PAUSE = 3.0


class Pidbox:
    """Reads and answers commands until it is stopped; a lost connection is made anew.

    Args:
        connect: makes a connected broker.
        content: the app's codec.
        hostname: the worker's name.
        answer: runs a command and returns its answer; None for no answer.
        listening: called each time that it hears commands from then on.
    """

    def __init__(
        self,
        connect: Callable[[], Broker],
        content: Any,
        hostname: str,
        answer: Callable[[str, Any], Any],
        *,
        listening: Callable[[], None] = lambda: None,
    ) -> None:
        self._connect = connect
        self._content = content
        self._hostname = hostname
        self._answer = answer
        self._listening = listening
        self._stop = threading.Event()
        self._consumer: Consumer | None = None
        self._thread = threading.Thread(target=self._run, name="umbel-control", daemon=True)
        self.queue = Queue(
            f"{hostname}.celery.pidbox",
            (Binding(PIDBOX),),
            durable=False,
            auto_delete=True,
            expires=10.0,
            message_ttl=300.0,
        )

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self, *, wait: bool = True) -> None:
        """End.

        Args:
            wait: for the connection to be closed in order. A broker that does not answer can hold that up for seconds.
        """
        self._stop.set()
        consumer = self._consumer
        if consumer is not None:
            consumer.wake()
        if wait:
            self._thread.join(timeout=5)

    def _run(self) -> None:
        failed = False
        while not self._stop.is_set():
            broker: Broker | None = None
            try:
                broker = self._connect()
                broker.declare([self.queue])
                self._consumer = broker.consumer([self.queue], name=f"{self._hostname} control")
                failed = False
                self._listening()
                self._read(broker, self._consumer)
            except UmbelError as error:
                if not failed:
                    logger.warning("remote control is off until the broker is back: %s", error)
                failed = True
                self._stop.wait(_PAUSE)
            except Exception:
                # Without this thread the worker would run on and answer nobody.
                logger.exception("remote control: an error that nobody expected; it begins anew")
                self._stop.wait(_PAUSE)
            finally:
                consumer, self._consumer = self._consumer, None
                if consumer is not None:
                    consumer.close()
                if broker is not None:
                    broker.close()

    def _read(self, broker: Broker, consumer: Consumer) -> None:
        while not self._stop.is_set():
            deliveries = consumer.receive(20, 5.0)
            for delivery in deliveries:
                self._handle(broker, delivery)
            if deliveries:
                consumer.ack(deliveries)

    def _handle(self, broker: Broker, delivery: Delivery) -> None:
        try:
            if len(delivery.body) > _LARGEST:
                raise ContentError(f"{len(delivery.body)} bytes are too many for a command")
            command = self._content.loads(delivery.body, delivery.content_type, delivery.content_encoding)
            if not isinstance(command, dict) or not isinstance(command.get("method"), str):
                raise ContentError("it names no method")
        except ContentError as error:
            logger.error("a remote control message cannot be read: %s", error)
            return
        if not self._is_for_me(command):
            return
        arguments = command.get("arguments")
        answer = self._answer(command["method"], arguments if isinstance(arguments, dict) else {})
        reply_to = command.get("reply_to")
        if isinstance(reply_to, dict) and answer is not None:
            self._reply(broker, reply_to, command.get("ticket"), answer)

    def _is_for_me(self, command: dict[str, Any]) -> bool:
        destination, pattern = command.get("destination"), command.get("pattern")
        if isinstance(destination, list) and destination and self._hostname not in destination:
            return False
        if isinstance(pattern, str) and pattern and command.get("matcher") in (None, "glob"):
            return fnmatch.fnmatchcase(self._hostname, pattern)
        return True

    def _reply(self, broker: Broker, reply_to: dict[str, Any], ticket: Any, answer: Any) -> None:
        exchange, key = reply_to.get("exchange"), reply_to.get("routing_key")
        if not isinstance(exchange, str) or not isinstance(key, str):
            return
        headers = {"ticket": ticket, "clock": 1} if isinstance(ticket, str) else {"clock": 1}
        message = Message(
            json.dumps({self._hostname: answer}).encode(), key, exchange, headers=headers, delivery_mode=1
        )
        try:
            broker.publish([message])
        except OperationalError:
            raise
        except UmbelError as error:
            logger.info("nobody takes the answer to a remote control command: %s", error)
