"""The rpc result backend: results travel as messages to the caller's own reply queue, as with Celery's ``rpc://``."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from umbel_backend_rpc.link import Link
from umbel_backend_rpc.replies import Replies
from umbel_backend_rpc.settings import SETTINGS
from umbel_kernel.errors import OperationalError
from umbel_kernel.spi.backend import READY_STATES, Backend, BackendCapability, Record
from umbel_kernel.url import URL


class RpcBackend(Backend):
    """Sends what ``store`` is given to each record's ``reply_to``, and reads a reply queue of its own.

    A result can be had only in the process that published the task, and only while that process lives.
    """

    capabilities = frozenset({BackendCapability.PUSH, BackendCapability.REPLY_TO})
    settings = SETTINGS

    def __init__(self, url: URL, options: Mapping[str, Any] | None = None, *, state_of: Callable[[bytes], str]) -> None:
        super().__init__(url, options, state_of=state_of)
        self._link = Link(self.options)
        self._replies = Replies(
            self._link,
            state_of,
            float(self.options.get("rpc_reply_expires") or 600.0),
            int(self.options.get("rpc_cache_max") or 100_000),
        )
        self._mode = 2 if self.options.get("result_persistent") else 1
        self._lock = threading.Lock()
        self._connection: Any = None
        self._channel: Any = None

    @property
    def reply_to(self) -> str:
        """See ``Backend.reply_to``."""
        return self._replies.queue

    def connect(self, *, timeout: float) -> None:
        """See ``Backend.connect``."""
        with self._lock:
            self._open(timeout)

    def expect(self, task_ids: Sequence[str]) -> None:
        """See ``Backend.expect``. The reply queue is there once this returns.

        Raises:
            OperationalError: the broker cannot be reached.
        """
        self._replies.start(5.0)

    def store(self, records: Sequence[Record], *, timeout: float = 5.0) -> None:
        """See ``Backend.store``. A record without ``reply_to`` is wanted by nobody and is passed over."""
        wanted = [record for record in records if record.reply_to]
        if not wanted:
            return
        with self._lock:
            channel = self._open(timeout)
            try:
                with self._link.errors(self._connection):
                    for record in wanted:
                        message = channel.prepare_message(
                            record.body,
                            0,
                            record.content_type,
                            record.content_encoding,
                            {},
                            {"correlation_id": record.task_id, "delivery_mode": self._mode},
                        )
                        channel.basic_publish(message, exchange="", routing_key=record.reply_to)
            except (OperationalError, TimeoutError) as error:
                self._drop()
                if isinstance(error, OperationalError):
                    raise
                raise OperationalError(
                    f"the broker {self._link.shown} did not take a result in {timeout:g} s"
                ) from error

    def fetch(self, task_ids: Sequence[str], *, timeout: float = 5.0) -> dict[str, Record]:
        """See ``Backend.fetch``. What has come to this process."""
        return self._replies.find(task_ids)

    def wait(self, task_ids: Sequence[str], *, timeout: float | None) -> dict[str, Record]:
        """See ``Backend.wait``."""
        if timeout is not None and timeout <= 0:
            found = self._replies.find(task_ids)
            return {task_id: record for task_id, record in found.items() if record.state in READY_STATES}
        self._replies.start(5.0 if timeout is None else timeout)
        return self._replies.wait(task_ids, timeout)

    def forget(self, task_ids: Sequence[str], *, timeout: float = 5.0) -> None:
        """See ``Backend.forget``."""
        self._replies.forget(task_ids)

    def close(self) -> None:
        """See ``Backend.close``."""
        self._replies.close()
        with self._lock:
            self._drop()

    def _open(self, timeout: float) -> Any:
        if self._connection is not None and not self._connection.connected:
            self._drop()
        if self._connection is None:
            connection = self._link.connection(timeout)
            try:
                with self._link.errors(connection):
                    connection.connect()
                    self._channel = connection.channel()
            except TimeoutError as error:
                raise OperationalError(f"the broker {self._link.shown} did not answer within {timeout:g} s") from error
            self._connection = connection
        return self._channel

    def _drop(self) -> None:
        connection, self._connection, self._channel = self._connection, None, None
        if connection is not None:
            self._link.release(connection)
