"""Remote control: commands to the workers of an app, in kombu's pidbox format."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from umbel.app.outbox import Outgoing
from umbel.results.revocations import Revocations, Stamps, values_of
from umbel_kernel.errors import ChannelError, UmbelError
from umbel_kernel.spi.message import Message
from umbel_kernel.spi.topology import Exchange

logger = logging.getLogger("umbel.app.control")

PIDBOX = Exchange("celery.pidbox", "fanout", durable=False)


class Control:
    """Sends commands to workers."""

    def __init__(self, app: Any) -> None:
        self._app = app

    def broadcast(
        self, command: str, arguments: dict[str, Any] | None = None, destination: Sequence[str] | None = None
    ) -> None:
        """Send a command to all workers, or to those named, and do not wait for replies."""
        body = {
            "method": command,
            "arguments": arguments or {},
            "destination": list(destination) if destination is not None else None,
            "pattern": None,
            "matcher": None,
        }
        message = Message(
            json.dumps(body).encode(), "", PIDBOX.name, headers={"clock": 1, "expires": None}, delivery_mode=1
        )
        try:
            self._app.publisher.publish([Outgoing(message, None)])
        except ChannelError as error:
            logger.info("no worker listens for %r: %s", command, error)

    def revoke(
        self,
        task_id: str | Sequence[str],
        destination: Sequence[str] | None = None,
        terminate: bool = False,
        signal: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Tell the workers not to run a task.

        Where there is a result store, it is kept there before this returns, and holds for ``worker_revoke_expires``
        seconds for all workers, also for those that are not there now; else it holds for those who hear it.

        Args:
            destination: only these workers; then it is kept by them alone.
            terminate: also end it when it runs.
            signal: with which signal, ``SIGTERM`` by default.
        """
        ids = values_of(task_id)
        kept = destination is None and self._keep(ids, {})
        arguments = {"task_id": ids, "terminate": terminate, "signal": signal or "SIGTERM", "kept": kept}
        self.broadcast("revoke", arguments, destination=destination)

    def terminate(
        self, task_id: str | Sequence[str], destination: Sequence[str] | None = None, signal: str | None = None
    ) -> None:
        """Tell the workers not to run a task, and to end it when it runs; see ``revoke``."""
        self.revoke(task_id, destination=destination, terminate=True, signal=signal)

    def revoke_by_stamped_headers(
        self,
        headers: Mapping[str, Any],
        destination: Sequence[str] | None = None,
        terminate: bool = False,
        signal: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Tell the workers not to run any task that bears one of these stamps; see ``revoke``.

        Args:
            headers: names of stamped headers, each with a value or several.
        """
        stamps = {name: values_of(value) for name, value in headers.items()}
        kept = destination is None and self._keep((), stamps)
        arguments = {"headers": stamps, "terminate": terminate, "signal": signal or "SIGTERM", "kept": kept}
        self.broadcast("revoke_by_stamped_headers", arguments, destination=destination)

    def _keep(self, task_ids: Sequence[str], stamps: Stamps) -> bool:
        """Keep a revoke in the result store. Returns whether it is kept there."""
        revocations = Revocations(self._app.backend)
        try:
            if not revocations.kept:
                return False
            revocations.keep(task_ids, stamps)
        except UmbelError as error:
            logger.warning("a revoke cannot be kept in the result store, so it holds for those who hear it: %s", error)
            return False
        return True

    def shutdown(self, destination: Sequence[str] | None = None) -> None:
        """Tell the workers to end in good order."""
        self.broadcast("shutdown", {}, destination=destination)
