"""What happens in a process of the pool before its first task and after its last."""

from __future__ import annotations

import contextlib
import os
from typing import Any

from umbel.app.runner import Runner
from umbel.model import signals
from umbel.worker import stacks
from umbel_kernel import plugins
from umbel_kernel.errors import UmbelError


class Children:
    """Prepares the places where jobs run.

    Args:
        app: the app.
        runner: what runs the jobs.
        processes: whether they are processes, which get a name for the log and the signals of one.
        announced: whether ``worker_process_init`` is sent; as in Celery also where tasks have the main thread.
    """

    def __init__(self, app: Any, runner: Runner, *, processes: bool, announced: bool) -> None:
        self._app = app
        self._runner = runner
        self._processes = processes
        self._announced = announced

    def prepare(self) -> None:
        """Called before the first of these places is made: import the plugins by which a task sends others and keeps
        its result, so that processes share them instead of importing them each. Whoever connects is told what is wrong.
        """
        if not self._processes:
            return
        connections = self._app.connections
        with contextlib.suppress(UmbelError):
            for url in [*connections.broker_urls(read=True), *connections.broker_urls()]:
                plugins.load("brokers", url.scheme)
        with contextlib.suppress(UmbelError):
            results = connections.backend_url()
            if results is not None:
                plugins.load("backends", results.scheme)

    def before_fork(self) -> None:
        """Called in the process that forks those of the pool, before each."""
        signals.worker_before_create_process.send(sender=self._runner.hostname)

    def initialize(self) -> None:
        """Called where jobs will run, before the first."""
        if self._processes:
            self._app.set_current()
            stacks.answer()
            self._app.log.move()
        if self._announced:
            signals.worker_process_init.send(sender=self._runner.hostname)

    def finalize(self) -> None:
        """Called there after the last, on an orderly end."""
        self._runner.close()
        if self._processes:
            signals.worker_process_shutdown.send(sender=None, pid=os.getpid(), exitcode=0)
            self._app.close()
