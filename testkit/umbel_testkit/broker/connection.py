"""Connecting, closing and what a broker says of itself."""

from __future__ import annotations

import traceback
from collections.abc import Callable

import pytest

from umbel_kernel.errors import OperationalError
from umbel_kernel.setting import Setting
from umbel_kernel.spi.broker import Broker, BrokerCapability
from umbel_kernel.spi.topology import Queue
from umbel_testkit.broker.case import BrokerCase, MakeBroker
from umbel_testkit.waiting import Stopwatch


class ConnectionSuite(BrokerCase):
    """Connecting, closing and what a broker says of itself."""

    def test_capabilities_are_capabilities(self, make_broker: MakeBroker) -> None:
        capabilities = type(make_broker()).capabilities
        assert isinstance(capabilities, frozenset)
        assert all(isinstance(capability, BrokerCapability) for capability in capabilities)

    def test_settings_are_described(self, make_broker: MakeBroker) -> None:
        settings = type(make_broker()).settings
        assert all(isinstance(setting, Setting) for setting in settings)
        assert all(setting.name.isidentifier() and setting.help.strip() for setting in settings)
        assert len({setting.name for setting in settings}) == len(settings)
        assert {setting.type for setting in settings} <= {"bool", "int", "float", "str", "list", "dict", "any"}

    def test_connect_twice_is_harmless(self, broker: Broker, queue: Queue) -> None:
        broker.connect(timeout=self.patience)
        self.send(broker, queue, b"still there")
        assert self.take(broker.consumer([queue]), 1)[0].body == b"still there"

    def test_close_twice_is_harmless(self, broker: Broker) -> None:
        broker.close()
        broker.close()

    def test_close_without_connect_is_harmless(self, make_broker: MakeBroker) -> None:
        make_broker().close()

    def test_unreachable_is_said_in_time_and_keeps_the_password(
        self, make_unreachable: Callable[[], Broker] | None
    ) -> None:
        if make_unreachable is None:
            pytest.skip("make_unreachable is None: an embedded store is always reachable")
        broker = make_unreachable()
        password = broker.url.password
        assert password, "make_unreachable has to give a URL with a password"
        with Stopwatch() as watch, pytest.raises(OperationalError) as caught:
            broker.connect(timeout=1.0)
        assert watch.seconds < 1.0 + self.quiet + 1.0
        assert broker.url.masked() in str(caught.value), "the message has to say where, with the masked URL"
        assert password not in "".join(traceback.format_exception(caught.value))
        broker.close()
