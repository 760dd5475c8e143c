"""The SQLite broker is a broker."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from umbel_broker_sqlite import SqliteBroker
from umbel_kernel.url import URL
from umbel_testkit.broker import BrokerConformance


class TestSqliteBroker(BrokerConformance):
    short_lease_options = {"sqlite_lease": 1.0}

    @pytest.fixture
    def make_broker(self, tmp_path: Path) -> Callable[..., SqliteBroker]:
        url = URL.parse(f"sqlite:///{tmp_path}/broker.db")
        return lambda **options: SqliteBroker(url, options)
