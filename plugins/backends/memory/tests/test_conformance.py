"""The memory backend keeps every promise of its contract."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from umbel_backend_memory import MemoryBackend
from umbel_kernel.url import URL
from umbel_testkit.backend import BackendConformance, json_state_of


class TestMemoryBackend(BackendConformance):
    quiet = 0.05
    brief = 0.2

    @pytest.fixture
    def make_backend(self) -> Callable[[], MemoryBackend]:
        return lambda: MemoryBackend(URL.parse("memory://conformance"), state_of=json_state_of)
