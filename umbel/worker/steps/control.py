"""The step that reads remote control commands."""

from __future__ import annotations

from umbel.worker.commands import Commands
from umbel.worker.pidbox import Pidbox
from umbel_kernel.spi.broker import BrokerCapability
from umbel_kernel.step import Context, Step


class Control(Step):
    """Answers remote control, where the broker can reach all workers at once."""

    requires = ("connection",)
    wants = ("tasks",)  # its thread connects too, and the first task is not to wait for that

    def include_if(self, context: Context) -> bool:
        """Where ``worker_enable_remote_control`` is on and the broker has fanout exchanges."""
        app = context.app
        return bool(app.conf.worker_enable_remote_control) and BrokerCapability.FANOUT in app.broker_capabilities

    def start(self, context: Context) -> None:
        """Begin."""
        app, worker = context.app, context.worker
        self._box = Pidbox(
            lambda: app.connections.connect(read=True),
            app.content,
            worker.hostname,
            Commands(worker, context.loop, context.revoked),
            listening=context.loop.recall.begin,
        )
        self._box.start()

    def stop(self, context: Context) -> None:
        """End."""
        self._box.stop()

    def terminate(self, context: Context) -> None:
        """End without waiting: the connection of the consumer is lost, so that of this has probably gone the same way,
        and the worker's way back must not wait for it."""
        self._box.stop(wait=False)
