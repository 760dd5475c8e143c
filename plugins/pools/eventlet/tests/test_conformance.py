"""The pool of eventlet's greenlets passes the pool suite. That of gevent's, with which it shares its code, is run
each time, this one with the slow tests.
"""

from __future__ import annotations

import pytest

from umbel_pool_eventlet.pool import EventletPool
from umbel_testkit.pool import PoolConformance

pytestmark = pytest.mark.slow


class TestEventletPool(PoolConformance):
    pool_class = EventletPool
