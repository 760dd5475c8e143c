"""Every plugin bears one name four times, a client three; built distributions ask for one another by version."""

from __future__ import annotations

import email
import email.message
import os
import re
import runpy
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest

import umbel
from umbel_kernel.plugins import KINDS, load

ROOT = Path(__file__).resolve().parent.parent
VERSION = runpy.run_path(str(ROOT / "VERSION.py"))["__version__"]
FOR_AUTHORS = {"greenlet", "keyvalue"}  # what other people's plugins stand on, so that it has an extra of its own
CLIENTS = sorted(path.parent for path in ROOT.glob("plugins/clients/*/pyproject.toml"))
PLUGINS = sorted({path.parent for path in ROOT.glob("plugins/*/*/pyproject.toml")} - set(CLIENTS))


def each(folders: list[Path]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("folder", folders, ids=lambda folder: f"{folder.parent.name}-{folder.name}")


each_plugin = each(PLUGINS)
each_distribution = each([*PLUGINS, *CLIENTS])


def project_of(folder: Path) -> dict[str, Any]:
    return tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))


def distribution_of(folder: Path) -> str:
    return f"umbel-{folder.parent.name.removesuffix('s')}-{folder.name}"


def build(folder: Path, into: Path, *, release: bool) -> email.message.Message:
    """Build a wheel as an index would get it (``release``) or as a checkout makes it, and read its METADATA."""
    environment = {**os.environ, "UMBEL_RELEASE": "1" if release else "0"}
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(into)],
        cwd=folder, env=environment, check=True, capture_output=True,
    )  # fmt: skip
    (wheel,) = into.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return email.message_from_bytes(archive.read(name))


@each_plugin
def test_the_folder_names_the_entry_point(folder: Path) -> None:
    kinds = folder.parent.name
    assert kinds in KINDS
    project = project_of(folder)["project"]
    package = distribution_of(folder).replace("-", "_")
    assert list(project["entry-points"]) in ([f"umbel.{kinds}"], [f"umbel.{kinds}", "umbel.prepare"])
    for entries in project["entry-points"].values():
        assert folder.name in entries
        assert all(path.startswith((f"{package}:", f"{package}.")) for path in entries.values())


@each(CLIENTS)
def test_a_client_is_no_plugin_and_serves_plugins_of_its_name(folder: Path) -> None:
    """It is not offered by name, nobody gets it by default or by an extra of its own, and more than one needs it."""
    table = project_of(folder)
    assert table["project"].keys().isdisjoint({"entry-points", "scripts"})
    assert "umbel" not in table["tool"]
    if folder.name in FOR_AUTHORS:
        return
    needed = [each for each in PLUGINS if distribution_of(folder) in project_of(each)["project"]["dependencies"]]
    assert len(needed) > 1
    assert folder.name in {each.name for each in needed}


@each_distribution
def test_the_folder_names_the_distribution_and_the_import(folder: Path) -> None:
    table = project_of(folder)
    package = distribution_of(folder).replace("-", "_")
    assert table["project"]["name"] == distribution_of(folder)
    assert (folder / package / "__init__.py").is_file()
    assert (folder / package / "py.typed").is_file()
    assert (folder / "README.md").is_file()
    assert table["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"] == [package]


@each_distribution
def test_every_distribution_has_one_version_and_one_licence(folder: Path) -> None:
    table = project_of(folder)
    assert table["project"]["dynamic"] == ["version"]
    assert table["tool"]["hatch"]["version"]["path"] == "../../../VERSION.py"
    assert table["project"]["license"] == "BSD-3-Clause"
    assert table["project"]["requires-python"] == project_of(ROOT)["project"]["requires-python"]


@each_plugin
def test_the_entry_points_load_and_are_of_their_kind(folder: Path) -> None:
    kinds = folder.parent.name
    contract = {
        "brokers": "Broker",
        "backends": "Backend",
        "pools": "Pool",
        "serializers": "Serializer",
        "compressors": "Compressor",
    }[kinds]
    for name in project_of(folder)["project"]["entry-points"][f"umbel.{kinds}"]:
        loaded = load(kinds, name)
        assert f"umbel_kernel.spi.{kinds[:-1]}.{contract}" in {
            f"{base.__module__}.{base.__qualname__}" for base in loaded.__mro__
        }


@each_distribution
def test_the_workspace_knows_it(folder: Path) -> None:
    """What ``uv run pytest`` needs of the root's pyproject.toml for each plugin and client."""
    root = project_of(ROOT)
    name = distribution_of(folder)
    assert root["tool"]["uv"]["sources"][name] == {"workspace": True}
    assert folder.relative_to(ROOT).as_posix() in root["tool"]["mypy"]["mypy_path"]
    package = name.replace("-", "_")
    linted = root["tool"]["importlinter"]
    assert package in linted["root_packages"]
    floors = [layer.split(" | ") for contract in linted["contracts"] for layer in contract["layers"]]
    assert [floor for floor in floors if package in floor], "no contract of import-linter names it"
    default = project_of(folder).get("tool", {}).get("umbel", {}).get("default", False)
    assert default or name in root["dependency-groups"]["dev"], "plain `uv run pytest` would not install it"


@each_distribution
def test_it_has_tests(folder: Path) -> None:
    assert list((folder / "tests").glob("test_*.py"))


def test_installed_here_is_this_version() -> None:
    assert umbel.__version__ == VERSION
    names = ["umbel", "umbel-kernel", "umbel-testkit", *map(distribution_of, [*PLUGINS, *CLIENTS])]
    assert {name: distribution(name).version for name in names} == dict.fromkeys(names, VERSION)


def test_a_release_asks_for_versions(tmp_path: Path) -> None:
    metadata = build(ROOT, tmp_path, release=True)
    requires = metadata.get_all("Requires-Dist", [])
    assert metadata["Version"] == VERSION
    assert metadata["License-Expression"] == "BSD-3-Clause"
    assert [need for need in requires if "file:" in need or " @ " in need] == []
    assert f"umbel-kernel=={VERSION}" in requires
    pinned = {need.partition("==")[0] for need in requires if need.startswith("umbel-")}
    assert {distribution_of(folder) for folder in [*PLUGINS, *CLIENTS]} <= pinned
    assert all(re.match(rf"umbel-[a-z0-9-]+=={re.escape(VERSION)}(;|$)", n) for n in requires if n.startswith("umbel-"))


def test_a_checkout_asks_for_its_own_folders(tmp_path: Path) -> None:
    """Also for what the defaults need, which pip would else look for in an index."""
    requires = build(ROOT, tmp_path, release=False).get_all("Requires-Dist", [])
    assert f"umbel-kernel @ {(ROOT / 'kernel').as_uri()}" in requires
    assert f"umbel-client-sqlite @ {(ROOT / 'plugins' / 'clients' / 'sqlite').as_uri()}" in requires


def test_an_extra_brings_every_plugin_of_its_name(tmp_path: Path) -> None:
    metadata = build(ROOT, tmp_path, release=True)
    requires = metadata.get_all("Requires-Dist", [])
    names = {folder.name for folder in PLUGINS}
    assert set(metadata.get_all("Provides-Extra", [])) == {*names, *FOR_AUTHORS, "all", "pydantic", "testkit"}
    for folder in [*PLUGINS, *CLIENTS]:
        pin = f"{distribution_of(folder)}=={VERSION}"
        assert any(re.fullmatch(rf"{re.escape(pin)}; extra == ['\"]{folder.name}['\"]", need) for need in requires)
        assert any(re.fullmatch(rf"{re.escape(pin)}; extra == ['\"]all['\"]", need) for need in requires)


def test_the_defaults_need_no_client_library() -> None:
    defaults = [each for each in PLUGINS if project_of(each).get("tool", {}).get("umbel", {}).get("default")]
    for folder in PLUGINS:
        table = project_of(folder)
        if folder in defaults:
            needs = set(table["project"]["dependencies"]) - set(map(distribution_of, defaults))
            for client in CLIENTS:
                if distribution_of(client) in needs:
                    needs = needs - {distribution_of(client)} | set(project_of(client)["project"]["dependencies"])
            assert needs <= {"umbel-kernel", "billiard>=4.2"}, f"{folder.name} would bring {needs} to everybody"


def test_a_plugins_wheel_names_its_needs_without_a_path(tmp_path: Path) -> None:
    redis = next(folder for folder in PLUGINS if folder.parts[-2:] == ("brokers", "redis"))
    requires = build(redis, tmp_path, release=True).get_all("Requires-Dist", [])
    assert set(requires) == set(project_of(redis)["project"]["dependencies"])
    assert [need for need in requires if "@" in need] == []


def test_an_archive_of_the_root_holds_the_root_only(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", str(tmp_path)],
        cwd=ROOT, check=True, capture_output=True,
    )  # fmt: skip
    (path,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        found = {name.split("/")[1] for name in archive.getnames()}
    assert found == {
        ".gitignore", "CHANGELOG.md", "LICENSE", "PKG-INFO", "README.md",
        "VERSION.py", "hatch_build.py", "pyproject.toml", "umbel",
    }  # fmt: skip
