"""Plugins that take part all at once."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from umbel_kernel import plugins
from umbel_kernel.errors import PluginBroken
from umbel_kernel.hooks import Hooks, hookimpl, manager
from umbel_kernel.step import Step


@pytest.fixture(autouse=True)
def refreshed() -> Iterator[None]:
    plugins.refresh()
    yield
    plugins.refresh()


class Lamp(Step):
    pass


class Extension:
    @hookimpl
    def umbel_steps(self, blueprint: str, app: Any) -> list[type[Step]] | None:
        return [Lamp] if blueprint == "worker" else None


def test_hooks_are_called_by_name() -> None:
    found = manager()
    found.register(Extension())
    assert [Lamp] in found.hook.umbel_steps(blueprint="worker", app=None)
    assert [Lamp] not in found.hook.umbel_steps(blueprint="consumer", app=None)


def test_managers_share_nothing() -> None:
    manager().register(Extension())
    assert [Lamp] not in manager().hook.umbel_steps(blueprint="worker", app=None)


def test_every_hook_says_when_it_is_called() -> None:
    hooks = [member for name, member in vars(Hooks).items() if name.startswith("umbel_")]
    assert len(hooks) >= 3
    assert all("called" in (inspect.getdoc(hook) or "").lower() for hook in hooks)


def distribution(folder: Path, code: str) -> None:
    info = folder / "acme_hooks-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-hooks\nVersion: 1.0\n", "utf-8")
    (info / "entry_points.txt").write_text("[umbel]\nacme = acme_hooks\n", "utf-8")
    (folder / "acme_hooks.py").write_text(code, "utf-8")


def test_an_installed_distribution_takes_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    distribution(
        tmp_path,
        "from umbel_kernel.hooks import hookimpl\n\n@hookimpl\ndef umbel_commands():\n    return ['a command']\n",
    )
    monkeypatch.syspath_prepend(tmp_path)
    plugins.refresh()
    try:
        assert ["a command"] in manager().hook.umbel_commands()
    finally:
        sys.modules.pop("acme_hooks", None)


def test_a_distribution_that_cannot_be_imported_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    distribution(tmp_path, "raise RuntimeError('half built')\n")
    monkeypatch.syspath_prepend(tmp_path)
    plugins.refresh()
    with pytest.raises(PluginBroken, match="'acme' of acme-hooks cannot be used: RuntimeError: half built"):
        manager()
