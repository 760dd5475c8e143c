"""The Redis backend keeps what ``umbel_kernel.spi.backend`` promises."""

from __future__ import annotations

from typing import Any

import pytest

from umbel_backend_redis import RedisBackend
from umbel_kernel.url import URL
from umbel_testkit.backend import BackendConformance, json_state_of


class TestRedisBackend(BackendConformance):
    @pytest.fixture
    def make_backend(self, redis_url: str) -> Any:
        return lambda **options: RedisBackend(URL.parse(redis_url), options, state_of=json_state_of)

    @pytest.fixture
    def make_unreachable(self) -> Any:
        return lambda: RedisBackend(URL.parse("redis://user:seecret@127.0.0.1:1/0"), state_of=json_state_of)
