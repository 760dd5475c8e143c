"""What needs a patched process is tested on gevent."""

from __future__ import annotations

from pathlib import Path

import pytest

from umbel_testkit.prepared import Prepared

HERE = Path(__file__).parent
prepared = Prepared("umbel_pool_gevent.prepare:prepare", lambda item: item.path.parent == HERE)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    return prepared.run(item, nextitem)
