"""The step that opens the pool."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from umbel.model import signals
from umbel.worker.children import Children
from umbel_kernel import plugins
from umbel_kernel.errors import ConfigurationError
from umbel_kernel.spi.pool import Job, PoolCapability, PoolOptions
from umbel_kernel.spi.pool import Pool as PoolContract
from umbel_kernel.step import Context, Step


class Pool(Step):
    """Provides ``pool`` and ``runner``: what runs the jobs, and what runs one job."""

    provides = ("pool",)
    requires = ("timer",)

    def start(self, context: Context) -> PoolContract:
        """Open the pool that the options name.

        Raises:
            PluginNotFound: there is no such pool.
            ConfigurationError: processes are to be started in a way that there is not.
            PoolError: it cannot be opened.
        """
        worker, conf = context.worker, context.app.conf
        options = worker.options
        kind: type[PoolContract] = plugins.load("pools", worker.pool_name)
        conf.declare(kind.settings, f"pool {worker.pool_name!r}")
        if conf.worker_pool_start_method == "spawn" and PoolCapability.PROCESSES in kind.capabilities:
            raise ConfigurationError(
                "worker_pool_start_method = 'spawn' is not there: processes are forked, by one that has one thread "
                "and no connection and was itself forked before the worker had any; leave the setting out"
            )
        pool = kind()
        processes = PoolCapability.PROCESSES in kind.capabilities
        announced = processes or PoolCapability.MAIN_THREAD in kind.capabilities
        children = Children(context.app, worker.runner, processes=processes, announced=announced)
        per_child = options.max_tasks_per_child or conf.worker_max_tasks_per_child
        memory = options.max_memory_per_child or conf.worker_max_memory_per_child
        children.prepare()
        runner = worker.runner
        runner.native = PoolCapability.ASYNC in kind.capabilities
        runner.one_thread = PoolCapability.ONE_THREAD in kind.capabilities
        self._green = PoolCapability.ONE_THREAD in kind.capabilities
        execute: Callable[[Job], Any] = runner
        if self._green and signals.eventlet_pool_apply._receivers:

            def execute(job: Job) -> Any:
                signals.eventlet_pool_apply.send(sender=pool, target=runner, args=(job,), kwargs={})
                return runner(job)

        pool.open(
            worker.concurrency,
            execute,
            worker.lead.done if PoolCapability.LEADS in kind.capabilities else context.wake,
            PoolOptions(
                max_jobs_per_child=per_child,
                max_memory_per_child=memory,
                alive_timeout=float(conf.worker_proc_alive_timeout),
                lost_wait=float(conf.worker_lost_wait),
                hostname=worker.hostname,
                initialize=children.initialize,
                finalize=children.finalize,
                prepare=children.before_fork if signals.worker_before_create_process._receivers else None,
                lead=worker.lead.take,
                coroutine=runner.coroutine,
                interrupt=runner.interrupt,
                settings={setting.name: conf[setting.name] for setting in kind.settings},
            ),
        )
        if self._green:
            signals.eventlet_pool_started.send(sender=pool)
        return pool

    def close(self, context: Context) -> None:
        """Take no more jobs."""
        context.pool.close()

    def stop(self, context: Context) -> None:
        """Free what the pool holds. The loop has drained it before."""
        self._end(context.pool, 5.0)

    def terminate(self, context: Context) -> None:
        """End it at once. The loop has ended what can be ended before."""
        self._end(context.pool, 0.5)

    def _end(self, pool: PoolContract, timeout: float) -> None:
        if self._green:
            signals.eventlet_pool_preshutdown.send(sender=pool)
        pool.terminate(timeout=timeout)
        if self._green:
            signals.eventlet_pool_postshutdown.send(sender=pool)

    def info(self, context: Context) -> Mapping[str, Any]:
        """The pool's own facts."""
        return dict(context.pool.info())
