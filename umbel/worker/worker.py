"""The worker as a program: options, blueprints, signals, and the order of its life."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from umbel.app.runner import Runner
from umbel.model import node, signals
from umbel.model.version import VERSION
from umbel.worker import preloaded  # noqa: F401  so that it is there before processes are forked
from umbel.worker.banner import banner
from umbel.worker.cpus import allowed, cpu_count
from umbel.worker.lead import Lead
from umbel.worker.options import WorkerOptions
from umbel.worker.request import request_class
from umbel.worker.shutdown import FAILED, Ending, Shutdown, leave
from umbel.worker.steps import CONSUMER_STEPS, WORKER_STEPS
from umbel_kernel import hooks
from umbel_kernel.blueprint import Blueprint
from umbel_kernel.errors import ConfigurationError
from umbel_kernel.spi.pool import PoolCapability
from umbel_kernel.step import Context, Step

logger = logging.getLogger("umbel.worker")


class Worker:
    """Runs the tasks of an app.

    Args:
        app: the app.
        options: what is asked of it.
    """

    def __init__(self, app: Any, options: WorkerOptions | None = None) -> None:
        self.app = app
        self.options = options or WorkerOptions()
        self.hostname = node.worker_name(self.options.hostname)
        self.started_at = datetime.now().astimezone()
        self.shutdown = Shutdown()
        self.exit_code = 0
        self.wants_purge = self.options.purge
        self._ready_told = self._drives = False
        signals.celeryd_init.send(sender=self.hostname, instance=self, conf=app.conf, options=vars_of(self.options))
        conf = app.conf
        self.pool_name: str = self.options.pool or os.environ.get("CELERY_CUSTOM_WORKER_POOL") or conf.worker_pool
        slots = self.options.concurrency or conf.worker_concurrency or cpu_count()
        if self.options.autoscale is not None:
            slots = max(self.options.autoscale[1], 1)
        self.concurrency: int = allowed() if slots == "auto" else int(slots)
        if self.concurrency < 1:
            raise ConfigurationError(f"concurrency is at least 1, not {self.concurrency}")
        self.runner = Runner(app, self.hostname)
        self.lead = Lead(self.wake)
        self.context = Context(
            app=app, worker=self, hostname=self.hostname, options=self.options, wake=self.wake, **self.options.extra
        )
        self._blueprints: tuple[Blueprint, Blueprint] | None = None

    # Set-up

    @property
    def blueprint(self) -> Blueprint:
        """The worker blueprint."""
        return self._made()[0]

    @property
    def consumer_blueprint(self) -> Blueprint:
        """The consumer blueprint."""
        return self._made()[1]

    def _made(self) -> tuple[Blueprint, Blueprint]:
        if self._blueprints is None:
            plugins = hooks.manager()

            def make(name: str, steps: Iterable[type[Step]]) -> Blueprint:
                found = plugins.hook.umbel_steps(blueprint=name, app=self.app)
                added = [step for group in found for step in group or ()]
                return Blueprint(name, [*steps, *self.app.steps[name], *added])

            self._blueprints = make("worker", WORKER_STEPS), make("consumer", CONSUMER_STEPS)
        return self._blueprints

    def prepare(self) -> None:
        """Import the tasks and choose the queues.

        Raises:
            ImportError: a module that the configuration names cannot be imported.
            ConfigurationError: there is nothing to read from, or a task's class of requests is none.
        """
        app, options = self.app, self.options
        if options.include:
            app.conf.include = [*app.conf.include, *options.include]
        app.import_default_modules()
        app.finalize()
        if options.queues:
            app.queues.select(options.queues)
        if options.exclude_queues:
            app.queues.deselect(options.exclude_queues)
        if not app.queues.consume_from:
            raise ConfigurationError("no queue is left to read from; name one with -Q")
        app.content.check()
        for task in app.tasks.values():
            request_class(task)
        signals.worker_init.send(sender=self)
        signals.celeryd_after_setup.send(sender=self.hostname, instance=self, conf=app.conf)

    def _warn(self) -> None:
        """Say what is configured and has no effect here."""
        for name in self.app.conf.undeclared():
            logger.warning("the setting %r is one that no installed plugin in use here knows; it has no effect", name)

    @property
    def shows_tasks(self) -> bool:
        """Whether the banner lists the tasks."""
        return self._level() <= logging.INFO

    @property
    def shows_builtins(self) -> bool:
        """Whether it lists the built-in ones too."""
        return self._level() <= logging.DEBUG

    def _level(self) -> int:
        level = self.options.loglevel
        found = logging.getLevelName(level.upper()) if isinstance(level, str) else level
        return found if isinstance(found, int) else logging.WARNING

    # Life

    def wake(self) -> None:
        """End whatever the loop waits for. Callable from any thread and from a signal handler."""
        supervisor = self.context.get("consumer")
        if supervisor is not None:
            supervisor.wake()

    def on_ready(self) -> None:
        """Called each time the worker is consuming."""
        if not self._ready_told:
            self._warn()
            self._ready_told = True
            signals.worker_ready.send(sender=self)
            logger.info("%s ready.", self.hostname)
        else:
            logger.info("%s is consuming again.", self.hostname)

    def start(self) -> int:
        """Run until asked to end. Returns the exit code.

        Raises:
            OperationalError: the broker cannot be reached and the configuration says to give up.
        """
        options = self.options
        self.app.set_current()
        theirs = self.app.log.setup(
            options.loglevel,
            options.logfile,
            colour=None if options.no_color is None else not options.no_color,
            hostname=self.hostname,
        )
        self.prepare()
        if not options.quiet:
            print(banner(self, VERSION), file=sys.__stdout__, flush=True)
        if self.app.conf.worker_redirect_stdouts and options.install_signals and not theirs:
            self.app.log.redirect_stdouts(self.app.conf.worker_redirect_stdouts_level)
        self._set_shutdown_up()
        if options.install_signals:
            self.shutdown.install()
        try:
            self.blueprint.start(self.context)
            self._run()
        finally:
            if self.shutdown.ending is Ending.COLD:
                self.blueprint.terminate(self.context)
            else:
                self.blueprint.stop(self.context)
            signals.worker_shutdown.send(sender=self)
            if options.install_signals:
                self.shutdown.uninstall()
            self.app.close()
        return self.shutdown.exit_code

    def _set_shutdown_up(self) -> None:
        shutdown, conf = self.shutdown, self.app.conf
        shutdown.wake, shutdown.sender = self.wake, self.hostname
        shutdown.warm, shutdown.soft = conf.worker_warm_shutdown_timeout, conf.worker_soft_shutdown_timeout
        shutdown.soft_on_idle = conf.worker_enable_soft_shutdown_on_idle
        shutdown.busy = self._runs
        shutdown.children = self._children

    def _runs(self) -> bool:
        """Whether a task runs or is with the pool."""
        loop = self.context.get("loop")
        return loop is not None and bool(loop.running)

    def _children(self) -> list[int]:
        """The processes of the pool."""
        pool = self.context.get("pool")
        if pool is None or PoolCapability.PROCESSES not in pool.capabilities:
            return []
        return list(pool.info().get("processes", ()))

    def _run(self) -> None:
        supervisor, pool = self.context.consumer, self.context.pool
        if PoolCapability.MAIN_THREAD not in pool.capabilities:
            supervisor.run()
            return
        failure: list[BaseException] = []

        def run() -> None:
            try:
                supervisor.run()
            except BaseException as error:
                failure.append(error)
            finally:
                pool.close()
                if self.shutdown.ending is Ending.COLD or failure:
                    pool.terminate(timeout=1.0)
                    self._desert()

        thread = threading.Thread(target=run, name="umbel-loop", daemon=True)
        thread.start()
        self.shutdown.interrupts = self._drives = True
        try:
            pool.drive()
        except KeyboardInterrupt:
            self.shutdown.interrupts = False
            cold = self.shutdown.ending is Ending.COLD
            self.shutdown.request(Ending.COLD, exit_code=FAILED, reason="KeyboardInterrupt")
            if not cold:
                raise
        except BaseException:
            self.shutdown.request(Ending.WARM, exit_code=FAILED, reason="pool")
            raise
        finally:
            self.shutdown.interrupts = self._drives = False
            thread.join()
        if failure:
            raise failure[0]

    def _desert(self) -> None:
        """Leave a task alone that a cold end could not interrupt in the main thread: all else has been seen to."""
        if self._drives and self.options.install_signals:
            logger.critical("the task in the main thread cannot be interrupted; the worker leaves it")
            leave(FAILED)

    def stop(self) -> None:
        """Ask the worker to end in good order. Callable from any thread."""
        self.shutdown.request(Ending.WARM, reason="stop")

    def terminate(self) -> None:
        """Ask the worker to end at once. Callable from any thread."""
        self.shutdown.request(Ending.COLD, reason="terminate")


def vars_of(options: WorkerOptions) -> dict[str, Any]:
    """The options as a mapping, for receivers of ``celeryd_init``."""
    return {name: getattr(options, name) for name in options.__dataclass_fields__}
