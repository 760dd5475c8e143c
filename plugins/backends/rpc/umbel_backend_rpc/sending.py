"""Sends results, and on AMQP waits until the server has them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from umbel_backend_rpc.link import Link
from umbel_kernel.errors import OperationalError
from umbel_kernel.spi.backend import Record


class Sending:
    """One connection for sending, made when it is needed. For one thread at a time.

    On AMQP all results of a call are written and then their confirms are waited for together, so that none is lost
    with a connection. Other brokers have taken a message when kombu's call returns.

    Args:
        link: where the broker is.
        mode: 2 for messages that outlive a restart of the broker, else 1.
    """

    def __init__(self, link: Link, mode: int) -> None:
        self._link = link
        self._mode = mode
        self._connection: Any = None
        self._channel: Any = None
        self._confirms = False
        self._tag = 0
        self._waiting: set[int] = set()
        self._refused = False

    def open(self, timeout: float) -> None:
        """Connect, unless connected.

        Raises:
            OperationalError: no broker answers.
        """
        if self._connection is not None and not self._connection.connected:
            self.drop()
        if self._connection is not None:
            return
        connection = self._link.connect(timeout)
        try:
            with self._link.errors(connection):
                channel = connection.channel()
                self._confirms = self._link.is_amqp(connection)
                if self._confirms:
                    channel.confirm_select()
                    channel.events["basic_ack"].add(self._taken)
                    channel.events["basic_nack"].add(self._not_taken)
        except (OperationalError, TimeoutError) as error:
            self._link.abandon(connection)
            raise OperationalError(f"the broker {self._link.shown} did not answer within {timeout:g} s") from error
        self._connection, self._channel = connection, channel
        self._tag, self._waiting, self._refused = 0, set(), False

    def send(self, records: Sequence[Record], timeout: float) -> None:
        """Send each to its ``reply_to``. A reply queue that is gone drops its result.

        Raises:
            OperationalError: not all were taken in time; sending all again is harmless.
        """
        end = time.monotonic() + timeout
        self.open(timeout)
        try:
            with self._link.errors(self._connection):
                for record in records:
                    self._publish(record)
                while self._waiting:
                    self._connection.drain_events(timeout=max(0.001, end - time.monotonic()))
                    if self._waiting and time.monotonic() >= end:
                        raise TimeoutError
        except (OperationalError, TimeoutError) as error:
            connection, self._connection, self._channel = self._connection, None, None
            self._link.abandon(connection)
            if isinstance(error, OperationalError):
                raise
            raise OperationalError(f"the broker {self._link.shown} did not take a result in {timeout:g} s") from error
        if self._refused:
            self._refused = False
            raise OperationalError(f"the broker {self._link.shown} refused a result")

    def drop(self) -> None:
        """Close the connection; never raises."""
        connection, self._connection, self._channel = self._connection, None, None
        if connection is not None:
            self._link.release(connection)

    def _publish(self, record: Record) -> None:
        message = self._channel.prepare_message(
            record.body,
            0,
            record.content_type,
            record.content_encoding,
            {},
            {"correlation_id": record.task_id, "delivery_mode": self._mode},
        )
        if self._confirms:
            self._tag += 1
            self._waiting.add(self._tag)
        self._channel.basic_publish(message, exchange="", routing_key=record.reply_to)

    def _taken(self, tag: int, multiple: bool) -> None:
        if multiple:
            self._waiting = {each for each in self._waiting if each > tag}
        else:
            self._waiting.discard(tag)

    def _not_taken(self, tag: int, multiple: bool) -> None:
        self._refused = True
        self._taken(tag, multiple)
