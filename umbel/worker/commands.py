"""The commands that a worker answers by remote control."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from umbel.model.brief import brief
from umbel.results.revocations import Revocations, Stamps, values_of
from umbel.worker.rates import per_second
from umbel.worker.revoked import Revoked
from umbel.worker.shutdown import Ending
from umbel_kernel.errors import UmbelError

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
            "hello": self.hello,
            "revoke": self.revoke,
            "revoke_by_stamped_headers": self.revoke_by_stamped_headers,
            "revoked": self.revoked,
            "shutdown": self.shutdown,
            "terminate": self.terminate,
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

    def revoke(
        self, task_id: Any, terminate: bool = False, signal: Any = None, kept: bool = False, **_: Any
    ) -> dict[str, str]:
        """Do not run these tasks; with ``terminate`` also end those that run. Answers once it is kept.

        Args:
            kept: the sender has kept it in the result store, so that it holds for all workers.
        """
        ids = [each for each in values_of(task_id) if isinstance(each, str)]
        self._revoked.add(ids)
        if not kept:
            self._keep(ids, {})
        self._end(ids, terminate, signal)
        logger.info("Tasks flagged as revoked: %s", ", ".join(ids[:20]))
        return {"ok": f"tasks {', '.join(ids[:20])} flagged as revoked"}

    def terminate(self, signal: Any, task_id: Any, **_: Any) -> dict[str, str]:
        """Do not run these tasks, and end those that run."""
        return self.revoke(task_id, terminate=True, signal=signal)

    def revoke_by_stamped_headers(
        self, headers: Any, terminate: bool = False, signal: Any = None, kept: bool = False, **_: Any
    ) -> dict[str, str]:
        """Do not run tasks that bear one of these stamps; with ``terminate`` also end those that run."""
        if isinstance(headers, list | tuple):
            headers = dict(each.split("=", 1) for each in headers)
        stamps = {str(name): values_of(value) for name, value in headers.items()}
        self._revoked.add_stamps(stamps)
        if not kept:
            self._keep((), stamps)
        loop = self._loop
        held = [*list(loop.running.values()), *list(loop.ready), *list(loop.later.values())]
        ids = [each.task_id for each in held if self._revoked.stamped(each.job.headers)]
        self._end(ids, terminate, signal)
        logger.info("Tasks with these stamps are revoked: %s", stamps)
        if not terminate:
            return {"ok": f"headers {headers} flagged as revoked, but not terminated"}
        return {"ok": f"headers {headers} revoked" if ids else f"headers {headers} were not terminated"}

    def revoked(self, **_: Any) -> list[str]:
        """The ids of the tasks that are not to run."""
        return list(self._revoked)

    def hello(self, from_node: str, revoked: Any = None, **_: Any) -> dict[str, Any] | None:
        """Another worker starts: take what it knows to be revoked, and say what is known here."""
        if from_node == self._worker.hostname:
            return None
        self._revoked.add([each for each in revoked or () if isinstance(each, str)])
        return {"revoked": list(self._revoked), "clock": 1}

    def _keep(self, ids: Sequence[str], stamps: Stamps) -> None:
        """Keep a revoke for workers that do not hear it, where the result store can."""
        try:
            revocations = Revocations(self._worker.app.backend)
            if revocations.kept:
                revocations.keep(ids, stamps)
        except UmbelError as error:
            logger.warning("a revoke cannot be kept in the result store, so it holds for those who hear it: %s", error)

    def _end(self, ids: Sequence[str], terminate: bool, signal: Any) -> None:
        name = str(signal or "TERM").upper().removeprefix("SIG")
        end = functools.partial(self._loop.revoke, ids, terminate=bool(terminate), signal=name)
        self._worker.context.timer.call_after(0, end)

    def shutdown(self, **_: Any) -> None:
        """End in good order."""
        self._worker.shutdown.request(Ending.WARM, reason="remote control")
