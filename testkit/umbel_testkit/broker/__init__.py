"""The conformance suite for brokers.

class TestMyBroker(BrokerConformance):
    @pytest.fixture
    def make_broker(self):
        return lambda **options: MyBroker(URL.parse("my://localhost"), options)
"""

from __future__ import annotations

from umbel_testkit.broker.connection import ConnectionSuite
from umbel_testkit.broker.content import ContentSuite
from umbel_testkit.broker.lease import LeaseSuite
from umbel_testkit.broker.order import OrderSuite
from umbel_testkit.broker.posting import PostingSuite
from umbel_testkit.broker.queue import QueueSuite
from umbel_testkit.broker.reading import ReadingSuite
from umbel_testkit.broker.routing import RoutingSuite
from umbel_testkit.broker.settling import SettlingSuite
from umbel_testkit.broker.sharing import SharingSuite

__all__ = ["BrokerConformance"]


class BrokerConformance(
    ConnectionSuite,
    QueueSuite,
    RoutingSuite,
    ContentSuite,
    ReadingSuite,
    SettlingSuite,
    OrderSuite,
    PostingSuite,
    LeaseSuite,
    SharingSuite,
):
    """Everything that ``umbel_kernel.spi.broker`` promises. Subclass it and give the fixture ``make_broker``.

    What else a subclass may set stands in ``umbel_testkit.broker.case.BrokerCase``.
    """
