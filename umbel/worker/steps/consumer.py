"""The step that makes the supervisor of the consumer blueprint."""

from __future__ import annotations

from umbel.worker.supervisor import Supervisor
from umbel_kernel.blueprint import Blueprint
from umbel_kernel.step import Context, Step


class Consumer(Step):
    """Provides ``consumer``: the supervisor, which the worker runs when all steps are started."""

    provides = ("consumer",)
    requires = ("loop",)
    last = True

    def start(self, context: Context) -> Supervisor:
        """Make it."""
        worker = context.worker
        blueprint: Blueprint = worker.consumer_blueprint
        inner = Context(context)
        return Supervisor(
            context.app,
            worker.hostname,
            context=inner,
            blueprint=blueprint,
            loop=context.loop,
            shutdown=worker.shutdown,
            on_ready=worker.on_ready,
        )
