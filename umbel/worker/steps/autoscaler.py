"""The step that makes the autoscaler."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from umbel.app.loading import import_object
from umbel.worker.autoscaler import INTERVAL
from umbel.worker.autoscaler import Autoscaler as PoolAutoscaler
from umbel_kernel.errors import ConfigurationError
from umbel_kernel.spi.pool import PoolCapability
from umbel_kernel.step import Context, Step


class Autoscaler(Step):
    """Provides ``autoscaler``, if the worker is asked to scale."""

    provides = ("autoscaler",)
    requires = ("timer", "pool", "loop")

    def include_if(self, context: Context) -> bool:
        """Whether there is a range to scale in."""
        return context.worker.options.autoscale is not None

    def start(self, context: Context) -> PoolAutoscaler:
        """Make it, and have the loop's timer call it.

        Raises:
            ConfigurationError: the pool has one size, or the range is none.
        """
        worker, pool, loop = context.worker, context.pool, context.loop
        if PoolCapability.RESIZE not in pool.capabilities:
            raise ConfigurationError(f"the pool {worker.pool_name!r} cannot change its size; leave out --autoscale")
        most, least = worker.options.autoscale
        chosen = context.app.conf.worker_autoscaler
        kind: type[PoolAutoscaler] = import_object(chosen) if isinstance(chosen, str) else chosen or PoolAutoscaler
        scaler = kind(pool, most, least, load=loop.room.load)
        context.timer.call_repeatedly(INTERVAL, scaler.maybe_scale)
        return scaler

    def info(self, context: Context) -> Mapping[str, Any]:
        """Its limits and the size of the pool."""
        return dict(context.autoscaler.info())
