"""What a worker says at its start about settings that have no effect."""

from __future__ import annotations

from typing import Any

import pytest

from umbel import Umbel
from umbel.model.exceptions import ConfigurationError


def test_settings_that_nobody_knows_are_named(app: Umbel, running: Any, caplog: pytest.LogCaptureFixture) -> None:
    app.conf.update(memory_lease=5.0, sqlite_leese=3)
    running(app)
    assert "'sqlite_leese' is one that no installed plugin in use here knows" in caplog.text
    assert "memory_lease" not in caplog.text


def test_a_way_to_start_processes_that_is_not_there_ends_the_start(app: Umbel, running: Any) -> None:
    app.conf.worker_pool_start_method = "spawn"
    running(app, pool="threads")
    with pytest.raises((AssertionError, ConfigurationError), match="'spawn' is not there"):
        running(app, pool="prefork")


def test_a_serializer_that_is_not_there_ends_the_start(app: Umbel, running: Any) -> None:
    app.conf.accept_content = ["json", "jsn"]
    with pytest.raises((AssertionError, ConfigurationError), match="jsn"):
        running(app)
