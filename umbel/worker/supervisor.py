"""The supervisor: keeps the consumer blueprint running, and brings it back when the connection is lost."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any

from umbel.worker.loop import Loop
from umbel.worker.shutdown import FAILED, Ending, Shutdown
from umbel_kernel.blueprint import Blueprint
from umbel_kernel.errors import OperationalError, PoolError, Terminated
from umbel_kernel.step import Context

logger = logging.getLogger("umbel.worker.consumer")

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 3.0

LASTED = 10.0
"""Seconds after which a connection counts as a good one."""

GLANCE = 0.1
"""Seconds between two looks whether the time of a worker that ends is up."""

WORKING_PAUSE = 1.0
"""The longest pause while connections are lost at once, but not before some work was done on each."""


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
        # A queue, not an event: ``put`` may be called from a signal handler that interrupts ``get``.
        self._gate: SimpleQueue[None] = SimpleQueue()
        self._rung = False
        self.consuming = False
        self.restarts = 0

    def wake(self) -> None:
        """End whatever the loop waits for. Callable from any thread and from a signal handler."""
        if not self._rung:
            self._rung = True
            self._gate.put(None)
        self._loop.wake()

    def _wait(self, timeout: float) -> None:
        with contextlib.suppress(Empty):
            self._gate.get(timeout=timeout)
        self._rung = False

    def run(self) -> None:
        """Run until the worker is to end, then end in good order.

        Raises:
            OperationalError: the broker cannot be reached and the configuration says to give up.
            PoolError: the pool can run nothing any more.
            Exception: a step of the consumer cannot be started.
        """
        try:
            self._keep_consuming()
        except BaseException as error:
            self._fail(error)
            raise
        self._end()

    def _keep_consuming(self) -> None:
        attempt, pause = 0, FIRST_PAUSE
        while self._shutdown.ending is Ending.NONE:
            began, done = monotonic(), self._loop.done
            try:
                self._blueprint.start(self._context)
                self.consuming = True
                self._on_ready()
                attempt = 0
                self._loop.run()
                return
            except PoolError:
                raise
            except OperationalError as error:
                lost, problem = self.consuming, error
            except Exception as error:
                # Once it has worked, no fault of a plugin ends the worker: it is told, and all begins anew.
                if not self.consuming and not self.restarts:
                    raise
                logger.exception("consumer: an error that nobody expected")
                lost, problem = self.consuming, OperationalError(f"{type(error).__name__}: {error}")
            self._stop()
            attempt += 1
            self._check(attempt, problem, lost)
            # A connection that is lost at once, again and again, must not make a hot loop.
            if lost and monotonic() - began > LASTED:
                pause = FIRST_PAUSE
            elif lost and self._loop.done > done:
                pause = min(pause, WORKING_PAUSE)
            self._complain(problem, lost, attempt, pause)
            self._pause(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    def _check(self, attempt: int, error: OperationalError, lost: bool) -> None:
        conf = self._app.conf
        retry = conf.broker_connection_retry
        if not lost and self.restarts == 0 and conf.broker_connection_retry_on_startup is not None:
            retry = conf.broker_connection_retry_on_startup
        most = self._most()
        if not retry or (most is not None and attempt > most):
            raise error

    def _most(self) -> int | None:
        """How often to try before giving up; None for ever.

        It is for ever unless somebody has set it: Celery's default of 100 takes Celery most of an hour, but at our
        pace five minutes, and no worker should end because its broker was away for so long.
        """
        conf, name = self._app.conf, "broker_connection_max_retries"
        return (conf[name] or None) if conf.value_set_for(name) else None

    def _complain(self, error: OperationalError, lost: bool, attempt: int, pause: float) -> None:
        text = str(error).rstrip("?.")
        if lost:
            self.restarts += 1
            # Celery's words, which people's monitoring looks for.
            logger.warning("consumer: Connection to broker lost: %s. Trying to re-establish the connection...", text)
        else:
            logger.error(
                "consumer: Cannot connect to %s: %s.\nTrying again in %.2f seconds... (%s/%s)",
                self._app.broker_text(),
                text,
                pause,
                attempt,
                self._most() or "no limit",
            )

    def _pause(self, seconds: float) -> None:
        """Wait, and go on running and settling meanwhile."""
        end = monotonic() + seconds
        while self._shutdown.ending is Ending.NONE:
            left = end - monotonic()
            if left <= 0:
                return
            self._loop.idle_turn(left, self._wait)

    def _stop(self, *, resumes: bool = True) -> None:
        self.consuming = False
        self._loop.detach(resumes=resumes)
        self._blueprint.terminate(self._context)

    def _fail(self, error: BaseException) -> None:
        """The worker cannot go on: finish what runs and keep its results, as far as that is possible."""
        logger.critical("the worker ends because of an error: %s: %s", type(error).__name__, error)
        loop = self._loop
        try:
            self._stop(resumes=False)
            if not isinstance(error, PoolError):
                loop.drain(self._wait)
            loop.settling.flush(force=True)
        except Exception:
            logger.exception("the tasks that run are not waited for")
        self._tell_unsettled()

    def _end(self) -> None:
        """Give back what has not begun, finish what runs (unless the end is cold), settle, disconnect."""
        self.consuming = False
        loop = self._loop
        try:
            try:
                if loop.consumer is None:
                    loop.detach(resumes=False)
                loop.give_back()
                loop.settling.flush(force=True)
                self._finish()
            except PoolError:
                raise
            except Exception as error:
                logger.warning("the connection was lost while the worker ended: %s: %s", type(error).__name__, error)
                loop.detach(resumes=False)
                self._finish()
        finally:
            self._blueprint.stop(self._context)
        self._tell_unsettled()

    def _finish(self) -> None:
        loop = self._loop
        watch = loop.timer.call_repeatedly(GLANCE, self._shutdown.check)
        loop.drain(self._wait)
        watch.cancel()
        if self._shutdown.ending is Ending.COLD:
            loop.abandon(Terminated("the worker was shut down cold while the task ran"))
            cut = list(loop.running.values())
            if cut:
                self._shutdown.exit_code = FAILED
                loop.suspects.forgive(cut)
        loop.settling.flush(force=True)

    def _tell_unsettled(self) -> None:
        if len(self._loop.settling):
            logger.error("could not be handed over before the end: %s", self._loop.settling.unsettled())
