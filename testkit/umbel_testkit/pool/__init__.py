"""The conformance suite for pools.

class TestMyPool(PoolConformance):
    pool_class = MyPool
"""

from __future__ import annotations

from umbel_testkit.pool.coroutines import CoroutinesSuite
from umbel_testkit.pool.ending import EndingSuite
from umbel_testkit.pool.limits import LimitsSuite
from umbel_testkit.pool.processes import ProcessesSuite
from umbel_testkit.pool.running import RunningSuite
from umbel_testkit.pool.slots import SlotsSuite

__all__ = ["PoolConformance"]


class PoolConformance(RunningSuite, SlotsSuite, LimitsSuite, CoroutinesSuite, ProcessesSuite, EndingSuite):
    """Everything that ``umbel_kernel.spi.pool`` promises. Subclass it and give ``pool_class``.

    What else a subclass may set stands in ``umbel_testkit.pool.case.PoolCase``.
    """
