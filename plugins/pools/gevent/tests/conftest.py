"""The pool suite runs in a process that was patched first of all."""

from __future__ import annotations

from pathlib import Path

import pytest

from umbel_testkit.prepared import Prepared

HERE = Path(__file__).parent
prepared = Prepared("umbel_pool_gevent.prepare:prepare", lambda item: item.path == HERE / "test_conformance.py")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    return prepared.run(item, nextitem)
