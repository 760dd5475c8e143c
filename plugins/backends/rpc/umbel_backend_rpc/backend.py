"""The rpc result backend: results travel as messages to the caller's own reply queue, as with Celery's ``rpc://``."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from umbel_backend_rpc.link import Link
from umbel_backend_rpc.replies import Replies
from umbel_backend_rpc.sending import Sending
from umbel_backend_rpc.settings import SETTINGS
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
        self._sending = Sending(self._link, 2 if self.options.get("result_persistent") else 1)
        # A signal handler or a finalizer may publish while its thread has it.
        self._lock = threading.RLock()

    @property
    def reply_to(self) -> str:
        """See ``Backend.reply_to``."""
        return self._replies.queue

    def connect(self, *, timeout: float) -> None:
        """See ``Backend.connect``."""
        with self._lock:
            self._sending.open(timeout)

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
            self._sending.send(wanted, timeout)

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
            self._sending.drop()
