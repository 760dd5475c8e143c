"""Remote control: commands to the workers of an app, in kombu's pidbox format."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from typing import Any

from umbel.app.outbox import Outgoing
from umbel_kernel.errors import ChannelError
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
        signal: str = "SIGTERM",
        **kwargs: Any,
    ) -> None:
        """Tell the workers not to run a task.

        Args:
            terminate: also end it when it runs.
            signal: with which signal.
        """
        self.broadcast(
            "revoke", {"task_id": task_id, "terminate": terminate, "signal": signal}, destination=destination
        )

    def rate_limit(self, task_name: str, rate_limit: Any, destination: Sequence[str] | None = None) -> None:
        """Change how often tasks of this name may begin in each worker, as in ``"10/m"``; 0 for no limit."""
        self.broadcast("rate_limit", {"task_name": task_name, "rate_limit": rate_limit}, destination=destination)

    def shutdown(self, destination: Sequence[str] | None = None) -> None:
        """Tell the workers to end in good order."""
        self.broadcast("shutdown", {}, destination=destination)
