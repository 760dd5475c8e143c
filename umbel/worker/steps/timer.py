"""The step that makes the worker's timer."""

from __future__ import annotations

from umbel.worker.timer import Timer as WorkerTimer
from umbel_kernel.step import Context, Step


class Timer(Step):
    """Provides ``timer``."""

    provides = ("timer",)

    def start(self, context: Context) -> WorkerTimer:
        """Make it; the loop runs it."""
        return WorkerTimer(wake=context.wake)

    def stop(self, context: Context) -> None:
        """Forget what was still to be called."""
        context.timer.clear()
