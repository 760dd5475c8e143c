"""Entry points are read from folders as the standard library reads them, and by it where there are no folders."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import umbel
from umbel.model.installed import Finder
from umbel_kernel.plugins import Plugin

offered = Finder()
METADATA = "Metadata-Version: 2.1\nName: {0}\nVersion: {1}\nSummary: none\n\nName: not this one\n"


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    offered.cache_clear()
    yield
    offered.cache_clear()


def install(place: Path, name: str, entries: str, *, number: str = "1.2", suffix: str = "dist-info") -> None:
    info = place / f"{name.replace('-', '_')}-{number}.{suffix}"
    info.mkdir(parents=True)
    file = "METADATA" if suffix == "dist-info" else "PKG-INFO"
    (info / file).write_text(METADATA.format(name, number), "utf-8")
    (info / "entry_points.txt").write_text(entries, "utf-8")


def test_all_that_the_standard_library_finds_here_is_found() -> None:
    known = {
        (entry.group.partition(".")[2] or "hooks", entry.name, entry.value, found.name, found.version)
        for found in importlib.metadata.distributions()
        for entry in found.entry_points
        if entry.group.partition(".")[0] == "umbel"
    }
    kinds = {kind for kind, *_ in known}
    assert {"brokers", "pools", "serializers"} <= kinds
    mine = [plugin for kind in kinds for plugin in offered(kind)]
    assert {(it.kind, it.name, it.path, it.distribution, it.version) for it in mine} == known
    assert umbel.__version__ == importlib.metadata.version("umbel")


@pytest.mark.parametrize("suffix", ["dist-info", "egg-info"])
def test_a_file_of_entry_points_is_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    text = """
# a comment
[console_scripts]
acme = acme:main

[ umbel.brokers ]
one=acme.one : One
# two = acme:Two
  three  =  acme:Outer.Three [extra]

[umbelish]
four = acme:Four

[umbel]
five = acme.five
"""
    install(tmp_path, "Acme.Plugins", text, suffix=suffix)
    monkeypatch.syspath_prepend(tmp_path)
    found = {it for kind in ("brokers", "hooks") for it in offered(kind) if it.distribution == "Acme.Plugins"}
    assert found == {
        Plugin("brokers", "one", "Acme.Plugins", "1.2", "acme.one : One"),
        Plugin("brokers", "three", "Acme.Plugins", "1.2", "acme:Outer.Three [extra]"),
        Plugin("hooks", "five", "Acme.Plugins", "1.2", "acme.five"),
    }


def test_what_an_entry_names_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "acme_loaded.py").write_text("class Outer:\n    class Three: pass\n", "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    try:
        assert Plugin("k", "n", "d", "1", "acme_loaded : Outer.Three [extra]").load().__name__ == "Three"
        assert Plugin("k", "n", "d", "1", "acme_loaded").load().__name__ == "acme_loaded"
        with pytest.raises(AttributeError):
            Plugin("k", "n", "d", "1", "acme_loaded:Missing").load()
        with pytest.raises(ModuleNotFoundError):
            Plugin("k", "n", "d", "1", "acme_nowhere:Missing").load()
    finally:
        sys.modules.pop("acme_loaded", None)


def test_the_first_distribution_on_the_path_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path / "old", "acme-twice", "[umbel.brokers]\ntwice = acme:Old\n", number="1.0")
    install(tmp_path / "new", "acme-twice", "[umbel.brokers]\ntwice = acme:New\n", number="2.0")
    monkeypatch.syspath_prepend(tmp_path / "old")
    assert [it.path for it in offered("brokers") if it.name == "twice"] == ["acme:Old"]
    monkeypatch.syspath_prepend(tmp_path / "new")
    assert [it.path for it in offered("brokers") if it.name == "twice"] == ["acme:New"]
    assert [it.version for it in offered("brokers") if it.name == "twice"] == ["2.0"]


def test_what_is_in_a_zip_file_is_found_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(tmp_path / "acme.zip", "w") as archive:
        archive.writestr("acme_zipped-3.1.dist-info/METADATA", METADATA.format("acme-zipped", "3.1"))
        archive.writestr("acme_zipped-3.1.dist-info/entry_points.txt", "[umbel.pools]\nzipped = acme_zipped:Pool\n")
        archive.writestr("acme_zipped.py", "class Pool: pass\n")
    before = {it.name for it in offered("pools")}
    monkeypatch.syspath_prepend(str(tmp_path / "acme.zip"))
    try:
        (found,) = (it for it in offered("pools") if it.name not in before)
        assert found == Plugin("pools", "zipped", "acme-zipped", "3.1", "acme_zipped:Pool")
        assert {it.name for it in offered("pools")} == {*before, "zipped"}
        assert found.load().__name__ == "Pool"
    finally:
        sys.modules.pop("acme_zipped", None)


def test_damaged_metadata_harms_nobody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {it.name for it in offered("pools")}
    damaged = tmp_path / "acme_damaged-1.0.dist-info"
    damaged.mkdir()
    (damaged / "entry_points.txt").write_bytes(b"[umbel.pools]\nodd\n\xff\xfe = \x00:\n[umbel.pools\n")
    (tmp_path / "acme_file-1.0.egg-info").write_text("Name: acme-file\n")
    (tmp_path / "no-dash.dist-info").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.syspath_prepend(tmp_path / "not there")
    assert before <= {it.name for it in offered("pools")}
    assert {it.distribution for it in offered("pools") if it.name not in before} == {"an unknown distribution"}


def test_looking_up_a_plugin_does_not_import_the_standard_library_s_reader() -> None:
    code = (
        "import sys, umbel; umbel.__version__; from umbel import Umbel; Umbel('it').finalize();"
        "from umbel_kernel import hooks, plugins; plugins.load('serializers', 'json'); hooks.manager();"
        "print([name for name in ('importlib.metadata', 'email', 'zipfile', 'csv') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout == "[]\n"
