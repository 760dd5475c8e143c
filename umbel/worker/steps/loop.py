"""The step that makes the loop."""

from __future__ import annotations

from umbel.worker.dispatch import Dispatch
from umbel.worker.limits import LimitCheck
from umbel.worker.loop import Loop as WorkerLoop
from umbel.worker.lost import Lost
from umbel.worker.refusing import Refusing
from umbel.worker.settling import Settling
from umbel_kernel.spi.pool import PoolCapability
from umbel_kernel.spi.topology import Queue
from umbel_kernel.step import Context, Step


class Loop(Step):
    """Provides ``loop``."""

    provides = ("loop",)
    requires = ("timer", "pool", "revoked")

    def start(self, context: Context) -> WorkerLoop:
        """Make it; the consumer step's supervisor turns it."""
        worker, app = context.worker, context.app
        conf, options = app.conf, worker.options
        multiplier = options.prefetch_multiplier
        if multiplier is None:
            multiplier = 1 if conf.worker_disable_prefetch else conf.worker_prefetch_multiplier
        settling = Settling(app)
        limits = LimitCheck(worker.pool_name, context.pool.capabilities)
        dispatch = Dispatch(
            app,
            context.revoked,
            soft=options.soft_time_limit,
            hard=options.time_limit,
            check_limits=limits if limits.needed else None,
            gathers=PoolCapability.PROCESSES not in context.pool.capabilities,
        )
        plans = [dispatch.plan(name) for name in app.tasks if not name.startswith("celery.")]
        limits.announce((plan.name, plan.soft, plan.hard) for plan in plans if plan is not None)
        name = conf.worker_dead_letter_queue
        refusing = Refusing(app, worker.hostname, settling, Queue(name) if name else None)
        loop = WorkerLoop(
            app,
            worker.hostname,
            timer=context.timer,
            pool=context.pool,
            dispatch=dispatch,
            settling=settling,
            shutdown=worker.shutdown,
            multiplier=multiplier,
            lost=Lost(app, settling, worker.runner, refusing),
            refusing=refusing,
            eta_limit=conf.worker_eta_task_limit,
            lead=worker.lead if PoolCapability.LEADS in context.pool.capabilities else None,
        )
        if not conf.worker_disable_rate_limits:
            loop.rates.read(app.tasks)
        loop.recall.begin()
        return loop
