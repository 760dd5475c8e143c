"""Plugins are found among real distributions, and what is wrong with one is said."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from umbel_kernel import plugins
from umbel_kernel.errors import PluginBroken, PluginConflict, PluginNotFound

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Installs a distribution that offers one broker, into a folder on the path."""

    def installed(distribution: str, name: str, target: str, *, code: str = "class Broker: pass\n") -> None:
        info = tmp_path / f"{distribution.replace('-', '_')}-1.2.dist-info"
        info.mkdir(exist_ok=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.2\n", "utf-8")
        with (info / "entry_points.txt").open("a", encoding="utf-8") as file:
            file.write(f"[umbel.brokers]\n{name} = {target}\n")
        (tmp_path / f"{target.partition(':')[0]}.py").write_text(code, "utf-8")
        plugins.refresh()

    before = set(sys.modules)
    monkeypatch.syspath_prepend(tmp_path)
    yield installed
    monkeypatch.undo()
    for name in set(sys.modules) - before:
        del sys.modules[name]
    plugins.refresh()


def test_a_plugin_is_found_and_only_then_imported(install: Install) -> None:
    install("acme-broker", "rabbithole", "acme_rabbithole:Broker")
    found = [plugin for plugin in plugins.installed("brokers") if plugin.name == "rabbithole"]
    assert found == [plugins.Plugin("brokers", "rabbithole", "acme-broker", "1.2", "acme_rabbithole:Broker")]
    assert "acme_rabbithole" not in sys.modules
    loaded = plugins.load("brokers", "rabbithole")
    assert (loaded.__name__, loaded.__module__) == ("Broker", "acme_rabbithole")
    assert plugins.load("brokers", "rabbithole") is loaded


def test_only_the_one_asked_for_is_imported(install: Install) -> None:
    install("acme-one", "one", "acme_one:Broker")
    install("acme-two", "two", "acme_two:Broker")
    plugins.load("brokers", "one")
    assert "acme_one" in sys.modules and "acme_two" not in sys.modules


def test_a_name_with_a_plus_is_answered_by_its_first_part(install: Install) -> None:
    install("acme-bridge", "bridge", "acme_bridge:Broker")
    assert plugins.load("brokers", "bridge+sqs") is plugins.load("brokers", "bridge")
    install("acme-direct", "bridge+sqs", "acme_direct:Broker")
    assert plugins.load("brokers", "bridge+sqs").__module__ == "acme_direct"


def test_a_missing_plugin_says_what_is_there_and_how_to_get_it(install: Install) -> None:
    install("acme-broker", "rabbithole", "acme_rabbithole:Broker")
    with pytest.raises(PluginNotFound) as caught:
        plugins.load("brokers", "rabithole")
    assert (caught.value.kind, caught.value.name) == ("brokers", "rabithole")
    assert "rabbithole" in caught.value.installed
    said = str(caught.value)
    assert said.startswith("no broker named 'rabithole' is installed; did you mean 'rabbithole'?")
    assert "pip install 'umbel[rabithole]'" in said


def test_a_kind_of_which_there_is_none() -> None:
    with pytest.raises(PluginNotFound, match="installed whatnots: none"):
        plugins.load("whatnots", "any")
    assert plugins.installed("whatnots") == []


def test_two_distributions_with_one_name_are_both_named(install: Install) -> None:
    install("acme-broker", "rabbithole", "acme_rabbithole:Broker")
    install("other-broker", "rabbithole", "other_rabbithole:Broker")
    with pytest.raises(PluginConflict) as caught:
        plugins.load("brokers", "rabbithole")
    assert caught.value.distributions == ("acme-broker", "other-broker")
    assert "offered by acme-broker and other-broker; uninstall all but one" in str(caught.value)
    assert "acme_rabbithole" not in sys.modules


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import nothing_of_this_name\n", "ModuleNotFoundError: No module named 'nothing_of_this_name'"),
        ("raise RuntimeError('half built')\n", "RuntimeError: half built"),
        ("", "AttributeError"),
        ("Broker = 42\n", "acme_broken:Broker is not a class"),
    ],
    ids=["import", "raises", "no such name", "no class"],
)
def test_a_broken_plugin_is_named_with_its_reason(install: Install, code: str, said: str) -> None:
    install("acme-broken", "broken", "acme_broken:Broker", code=code)
    with pytest.raises(PluginBroken) as caught:
        plugins.load("brokers", "broken")
    assert "the broker 'broken' of acme-broken cannot be used" in str(caught.value)
    assert said in str(caught.value)


def test_a_distribution_installed_later_is_seen_after_refresh(install: Install) -> None:
    assert "late" not in {plugin.name for plugin in plugins.installed("brokers")}
    install("acme-late", "late", "acme_late:Broker")
    assert "late" in {plugin.name for plugin in plugins.installed("brokers")}


def test_a_quicker_finder_may_be_put_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    class Finder:
        def __call__(self, kind: str) -> list[plugins.Plugin]:
            return [plugins.Plugin(kind, "found", "acme", "1", "umbel_kernel.plugins : Plugin [extra]")]

        def cache_clear(self) -> None:
            cleared.append(True)

    cleared: list[bool] = []
    monkeypatch.setattr(plugins, "finder", Finder())
    plugins.refresh()
    try:
        assert plugins.load("brokers", "found") is plugins.Plugin
        assert [plugin.distribution for plugin in plugins.installed("pools")] == ["acme"]
        assert cleared == [True]
    finally:
        plugins.refresh()


def test_the_standard_library_s_finder_finds_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    before = {kind: plugins.installed(kind) for kind in (*plugins.KINDS, plugins.HOOKS)}
    monkeypatch.setattr(plugins, "finder", plugins._ask)
    plugins.refresh()
    assert {kind: plugins.installed(kind) for kind in before} == before
    assert before["brokers"]
