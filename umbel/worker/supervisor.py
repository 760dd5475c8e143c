"""The supervisor: keeps the consumer blueprint running, and brings it back when the connection is lost."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from time import monotonic
from typing import Any

from umbel.model import signals
from umbel.worker.loop import Loop
from umbel.worker.shutdown import Ending, Shutdown
from umbel_kernel.blueprint import Blueprint
from umbel_kernel.errors import OperationalError, Terminated
from umbel_kernel.step import Context

logger = logging.getLogger("umbel.worker.consumer")

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 3.0


class Supervisor:
    """Starts the consumer blueprint, turns the loop, and begins anew after a loss.

    Args:
        app: the app.
        hostname: the worker's name.
        context: that of the consumer blueprint.
        blueprint: of the consumer.
        loop: the worker's loop.
        shutdown: says when to end.
        on_ready: called each time the worker is consuming.
    """

    def __init__(
        self,
        app: Any,
        hostname: str,
        *,
        context: Context,
        blueprint: Blueprint,
        loop: Loop,
        shutdown: Shutdown,
        on_ready: Callable[[], None],
    ) -> None:
        self._app = app
        self._hostname = hostname
        self._context = context
        self._blueprint = blueprint
        self._loop = loop
        self._shutdown = shutdown
        self._on_ready = on_ready
        self._event = threading.Event()
        self.failure: BaseException | None = None
        self.consuming = False
        self.restarts = 0

    def wake(self) -> None:
        """End whatever the loop waits for. Callable from any thread and from a signal handler."""
        self._event.set()
        consumer = self._loop.consumer
        if consumer is not None:
            consumer.wake()

    def _wait(self, timeout: float) -> None:
        self._event.wait(timeout)
        self._event.clear()

    def run(self) -> None:
        """Run until the worker is to end, then end in good order.

        Raises:
            OperationalError: the broker cannot be reached and the configuration says to give up.
        """
        attempt = 0
        pause = FIRST_PAUSE
        while self._shutdown.ending is Ending.NONE:
            began = monotonic()
            try:
                self._blueprint.start(self._context)
                self.consuming = True
                self._on_ready()
                attempt, pause = 0, FIRST_PAUSE
                self._loop.run()
                break
            except OperationalError as error:
                lost = self.consuming
                self._stop()
                attempt += 1
                self._check(attempt, error, lost)
                # A connection that is lost at once, again and again, must not make a hot loop.
                pause = FIRST_PAUSE if lost and monotonic() - began > 10 else pause
                self._complain(error, lost, attempt, pause)
                self._pause(pause)
                pause = min(pause * 2, LONGEST_PAUSE)
        self._end()

    def _check(self, attempt: int, error: OperationalError, lost: bool) -> None:
        conf = self._app.conf
        retry = conf.broker_connection_retry
        if not lost and self.restarts == 0 and conf.broker_connection_retry_on_startup is not None:
            retry = conf.broker_connection_retry_on_startup
        most = conf.broker_connection_max_retries
        if not retry or (most is not None and most > 0 and attempt > most):
            raise error

    def _complain(self, error: OperationalError, lost: bool, attempt: int, pause: float) -> None:
        most = self._app.conf.broker_connection_max_retries or "no limit"
        if lost:
            self.restarts += 1
            logger.warning("consumer: Connection to broker lost: %s. Trying to re-establish the connection...", error)
        else:
            logger.error(
                "consumer: Cannot connect to %s: %s.\nTrying again in %.2f seconds... (%s/%s)",
                self._app.broker_text(),
                error,
                pause,
                attempt,
                most,
            )

    def _pause(self, seconds: float) -> None:
        """Wait, and go on running and settling meanwhile."""
        end = monotonic() + seconds
        while self._shutdown.ending is Ending.NONE:
            left = end - monotonic()
            if left <= 0:
                return
            self._loop.idle_turn(left, self._wait)

    def _stop(self) -> None:
        self.consuming = False
        self._loop.detach()
        self._blueprint.terminate(self._context)

    def _end(self) -> None:
        """Give back what has not begun, finish what runs (unless the end is cold), settle, disconnect."""
        self.consuming = False
        loop = self._loop
        try:
            loop.give_back()
            loop.settling.flush(force=True)
            loop.drain(self._wait)
            if self._shutdown.ending is Ending.COLD:
                loop.abandon(Terminated("the worker was shut down cold while the task ran"))
            loop.settling.flush(force=True)
        except OperationalError as error:
            logger.warning("the connection was lost while the worker ended: %s", error)
            loop.detach()
            loop.drain(self._wait)
            loop.settling.flush(force=True)
        finally:
            self._blueprint.stop(self._context)
        if len(loop.settling):
            logger.error("%d results or messages could not be handed over before the end", len(loop.settling))
        signals.worker_shutdown.send(sender=self)
