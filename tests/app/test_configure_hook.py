"""Installed distributions that have a say in the configuration of every app."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from umbel import Umbel
from umbel_kernel import plugins
from umbel_kernel.errors import PluginBroken


@pytest.fixture
def acme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The module of an installed distribution that takes part."""
    info = tmp_path / "acme_configures-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-configures\nVersion: 1.0\n", "utf-8")
    (info / "entry_points.txt").write_text("[umbel]\nacme = acme_configures\n", "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    plugins.refresh()
    yield tmp_path / "acme_configures.py"
    sys.modules.pop("acme_configures", None)
    monkeypatch.undo()
    plugins.refresh()


def test_it_is_called_once_the_configuration_was_read(acme: Path) -> None:
    acme.write_text(
        "from umbel_kernel.hooks import hookimpl\n"
        "seen = []\n"
        "@hookimpl\n"
        "def umbel_configure(app):\n"
        "    seen.append((app.main, app.conf.task_default_queue))\n"
        "    app.conf.task_default_queue = 'of-acme'\n"
    )
    app = Umbel("configured", task_default_queue="own", set_as_current=False)
    assert "acme_configures" not in sys.modules
    assert app.conf.task_default_queue == "of-acme"
    assert app.conf.task_serializer == "json"
    assert sys.modules["acme_configures"].seen == [("configured", "own")]


def test_one_that_cannot_be_imported_is_named(acme: Path) -> None:
    acme.write_text("raise RuntimeError('half built')\n")
    app = Umbel("configured", set_as_current=False)
    with pytest.raises(PluginBroken, match="'acme' of acme-configures cannot be used: RuntimeError: half built"):
        _ = app.conf.task_default_queue
