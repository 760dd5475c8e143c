"""The commands that a worker answers by remote control."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Mapping
from typing import Any

from umbel.model.brief import brief
from umbel.worker.rates import per_second
from umbel.worker.revoked import Revoked
from umbel.worker.shutdown import Ending

Command = Callable[..., Any]

logger = logging.getLogger("umbel.worker.control")


class Commands:
    """Answers commands. Each is called in the control thread.

    Args:
        worker: the worker.
        loop: its loop.
        revoked: the ids that are not to run.
    """

    def __init__(self, worker: Any, loop: Any, revoked: Revoked) -> None:
        self._worker = worker
        self._loop = loop
        self._revoked = revoked
        self.table: dict[str, Command] = {
            "ping": self.ping,
            "rate_limit": self.rate_limit,
            "revoke": self.revoke,
            "shutdown": self.shutdown,
        }

    def __call__(self, method: str, arguments: Mapping[str, Any]) -> Any:
        """Run a command; returns its answer, or an ``error`` that says what was wrong with it."""
        command = self.table.get(method)
        if command is None:
            return {"error": f"this worker knows no command {method!r}; it knows {', '.join(sorted(self.table))}"}
        try:
            return command(**arguments)
        except TypeError as error:
            return {"error": f"wrong arguments for {method!r}: {error}"}
        except Exception as error:
            logger.exception("the remote control command %r raised", method)
            return {"error": f"{method!r} failed: {type(error).__name__}: {error}"}

    def ping(self, **_: Any) -> dict[str, str]:
        """Says that the worker is there."""
        return {"ok": "pong"}

    def rate_limit(self, task_name: str, rate_limit: Any, **_: Any) -> dict[str, str]:
        """Change how often tasks of this name may begin here; 0 or null for as often as they come."""
        try:
            rate = per_second(rate_limit)
        except (ValueError, TypeError) as error:
            return {"error": f"Invalid rate limit string: {error}"}
        task = self._worker.app.tasks.get(task_name)
        if task is None:
            logger.error("Rate limit attempt for unknown task %s", brief(task_name, 200))
            return {"error": "unknown task"}
        task.rate_limit = rate_limit
        if not self._worker.app.conf.worker_disable_rate_limits:
            self._worker.context.timer.call_after(0, self._loop.rates.set, task_name, rate_limit)
        if not rate:
            logger.info("Rate limits disabled for tasks of type %s", task_name)
            return {"ok": "rate limit disabled successfully"}
        logger.info("New rate limit for tasks of type %s: %s.", task_name, rate_limit)
        return {"ok": "new rate limit set successfully"}

    def revoke(self, task_id: Any, terminate: bool = False, signal: str = "TERM", **_: Any) -> dict[str, str]:
        """Do not run these tasks; with ``terminate`` also end those that run."""
        ids = [task_id] if isinstance(task_id, str) else [each for each in task_id if isinstance(each, str)]
        self._revoked.add(ids)
        end = functools.partial(
            self._loop.revoke, ids, terminate=bool(terminate), signal=str(signal).removeprefix("SIG")
        )
        self._worker.context.timer.call_after(0, end)
        return {"ok": f"tasks {', '.join(ids[:20])} flagged as revoked"}

    def shutdown(self, **_: Any) -> None:
        """End in good order."""
        self._worker.shutdown.request(Ending.WARM, reason="remote control")
