"""An app whose results are kept in this process."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from umbel.app.app import Umbel
from umbel.model.ids import uuid


@pytest.fixture
def app() -> Iterator[Any]:
    """An app over the in-process broker and backend."""
    name = uuid()
    app = Umbel("results", broker=f"memory://{name}", backend=f"memory://{name}", set_as_current=True)
    yield app
    app.close()
