"""The SQLite backend is a result backend."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from umbel_backend_sqlite import SqliteBackend
from umbel_kernel.url import URL
from umbel_testkit.backend import BackendConformance, json_state_of


class TestSqliteBackend(BackendConformance):
    @pytest.fixture
    def make_backend(self, tmp_path: Path) -> Callable[[], SqliteBackend]:
        url = URL.parse(f"sqlite:///{tmp_path}/results.db")
        return lambda: SqliteBackend(url, state_of=json_state_of)
