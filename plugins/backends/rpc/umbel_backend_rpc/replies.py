"""The reply queue of this process and the thread that reads it."""

from __future__ import annotations

import logging
import os
import select
import threading
import time
import uuid
import weakref
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

from kombu.entity import Queue
from kombu.messaging import Consumer

from umbel_backend_rpc.link import Link
from umbel_kernel.errors import DecodeError, OperationalError
from umbel_kernel.spi.backend import READY_STATES, Record

logger = logging.getLogger(__name__)
_PAUSES = (0.05, 0.1, 0.2, 0.5, 1.0)
_SLICE = 0.1
_PATIENCE = 5.0


class Replies:
    """Results that came to this process, kept so that any of its threads may fetch them.

    Args:
        link: where the broker is.
        state_of: reads the state out of a document.
        expires: seconds without a reader after which the broker drops the queue.
        limit: how many results are kept.
    """

    def __init__(self, link: Link, state_of: Callable[[bytes], str], expires: float, limit: int) -> None:
        self.queue = str(uuid.uuid4())
        self._link = link
        self._state_of = state_of
        self._expires = expires
        self._limit = limit
        self._turn = threading.Condition()
        self._kept: OrderedDict[str, Record] = OrderedDict()
        self._thread: threading.Thread | None = None
        self._connected = False
        self._trouble: OperationalError | None = None
        self._closed = False
        self._last: Any = None
        self._ends = os.pipe()
        self._finish = weakref.finalize(self, _close_all, self._ends)

    def start(self, timeout: float) -> None:
        """Declare the queue and begin to read it; does nothing when it is being read.

        Raises:
            OperationalError: the broker cannot be reached within ``timeout`` seconds.
        """
        if self._connected:
            return
        with self._turn:
            if self._closed:
                raise OperationalError("this rpc backend is closed; make a new one")
            if self._thread is None or not self._thread.is_alive():
                self._trouble = None
                self._thread = threading.Thread(target=self._run, name="umbel-rpc-replies", daemon=True)
                self._thread.start()
            if not self._turn.wait_for(lambda: self._connected or self._trouble is not None, timeout):
                raise OperationalError(f"the broker {self._link.shown} did not answer within {timeout:g} s")
            if not self._connected and self._trouble is not None:
                raise self._trouble

    def find(self, task_ids: Sequence[str]) -> dict[str, Record]:
        """What has come of these."""
        with self._turn:
            return {task_id: self._kept[task_id] for task_id in task_ids if task_id in self._kept}

    def wait(self, task_ids: Sequence[str], timeout: float | None) -> dict[str, Record]:
        """See ``Backend.wait``."""
        found: dict[str, Record] = {}

        def came() -> bool:
            for task_id in task_ids:
                record = self._kept.get(task_id)
                if record is not None and record.state in READY_STATES:
                    found[task_id] = record
            return bool(found) or (timeout is None and not self._connected)

        with self._turn:
            self._turn.wait_for(came, timeout)
            if not found and not self._connected and self._trouble is not None:
                raise self._trouble
            return found

    def forget(self, task_ids: Sequence[str]) -> None:
        """Drop what has come of these."""
        with self._turn:
            for task_id in task_ids:
                self._kept.pop(task_id, None)

    def close(self) -> None:
        """Stop reading and delete the queue; never raises."""
        with self._turn:
            self._closed = True
            thread = self._thread
            if self._finish.alive:
                os.write(self._ends[1], b"\0")
        if thread is not None and thread is not threading.current_thread():
            thread.join(3.0)
        self._finish()

    def _run(self) -> None:
        failures = 0
        while not self._closed:
            connection = None
            try:
                connection = self._link.connect(_PATIENCE, reading=True)
                with self._link.errors(connection):
                    self._read(connection)
            except (OperationalError, TimeoutError) as error:
                if connection is not None:
                    self._link.abandon(connection)
                    connection = None
                failures = 0 if self._connected else failures + 1
                with self._turn:
                    self._connected = False
                    said = error if isinstance(error, OperationalError) else None
                    self._trouble = said or OperationalError(f"the broker {self._link.shown} did not answer in time")
                    self._turn.notify_all()
                logger.debug("reading replies: %s", error)
                if not self._closed:
                    time.sleep(_PAUSES[min(failures, len(_PAUSES) - 1)])
            finally:
                if connection is not None:
                    self._link.release(connection)

    def _read(self, connection: Any) -> None:
        """Read until closed.

        The queue outlives a lost connection for a while, so that no result is lost with it; nor is one that is on its
        way just then, since on AMQP each is acknowledged.
        """
        channel = connection.channel()
        named: Any = Queue
        reader: Any = Consumer
        queue = named(self.queue, exchange="", routing_key=self.queue, durable=False, expires=self._expires)
        bound = queue(channel)
        bound.queue_declare()
        acks = self._link.is_amqp(connection)
        self._last = None
        with reader(channel, [bound], no_ack=not acks, auto_declare=False, on_message=self._came):
            with self._turn:
                self._connected = True
                self._trouble = None
                self._turn.notify_all()
            beats = bool(connection.get_heartbeat_interval())
            sock = connection.connection.sock if acks else None
            while not self._closed:
                try:
                    connection.drain_events(timeout=_SLICE if sock is None else 0)
                except TimeoutError:
                    if sock is not None:
                        if self._last is not None:
                            channel.basic_ack(self._last, multiple=True)
                            self._last = None
                        self._pause(sock.fileno())
                if beats:
                    connection.heartbeat_check()
        bound.delete()
        self._connected = False

    def _pause(self, descriptor: int) -> None:
        """Wait for the broker or for ``close``."""
        poller = select.poll()
        poller.register(descriptor, select.POLLIN)
        poller.register(self._ends[0], select.POLLIN)
        poller.poll(1000)

    def _came(self, message: Any) -> None:
        self._last = message.delivery_tag
        task_id = message.properties.get("correlation_id")
        body = message.body.encode() if isinstance(message.body, str) else bytes(message.body or b"")
        if not isinstance(task_id, str):
            logger.error("a reply on %s has no correlation id and is dropped", self.queue)
            return
        try:
            state = self._state_of(body)
        except DecodeError as error:
            logger.error("the reply for task %s cannot be read and is dropped: %s", task_id, error)
            return
        record = Record(task_id, state, body, message.content_type or "", message.content_encoding or "")
        with self._turn:
            earlier = self._kept.get(task_id)
            if earlier is not None and earlier.state == "SUCCESS":
                return
            self._kept[task_id] = record
            while len(self._kept) > self._limit:
                self._kept.popitem(last=False)
            self._turn.notify_all()


def _close_all(descriptors: tuple[int, int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
