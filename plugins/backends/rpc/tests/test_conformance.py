"""The rpc backend keeps what ``umbel_kernel.spi.backend`` promises, over AMQP and over Redis."""

from __future__ import annotations

from typing import Any

import pytest

from umbel_backend_rpc import RpcBackend
from umbel_kernel.url import URL
from umbel_testkit.backend import BackendConformance, json_state_of


def make(broker_url: str) -> RpcBackend:
    return RpcBackend(URL.parse("rpc://"), {"broker_url": broker_url}, state_of=json_state_of)


class TestOverAmqp(BackendConformance):
    @pytest.fixture
    def make_backend(self, amqp_url: str) -> Any:
        return lambda: make(amqp_url)


@pytest.mark.slow
class TestOverRedis(BackendConformance):
    @pytest.fixture
    def make_backend(self, redis_url: str) -> Any:
        return lambda: make(redis_url)
