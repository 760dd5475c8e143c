"""Each session of the guides to calling, to workflows and to coroutines prints what the page says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = ["calling.md", "canvas.md", "async.md"]


@pytest.mark.parametrize("name", PAGES)
def test_every_section_is_run(page: Any, name: str) -> None:
    found = page(name)
    assert {block.language for block in found} - {"text"} == {"python", "pycon", "console"}
    assert all(block.file for block in found if block.language == "python")
    sections = {line[3:] for line in (DOCS / name).read_text("utf-8").splitlines() if line.startswith("## ")}
    assert sections - {block.section for block in found if block.language == "pycon"} == {"All options"} & sections


def everything_was_done(reader: Any, found: list[Any]) -> None:
    typed = [int(what.split()[2]) for what in reader.run if what.startswith("session of ")]
    assert sum(typed) == sum(block.text.count(">>>") for block in found) > 30
    assert [what for what in reader.run if what.endswith(".py")] == [block.file for block in found if block.file]


@pytest.mark.parametrize("name", PAGES)
def test_without_a_server(reader: Any, page: Any, name: str) -> None:
    reader.follow(page(name))
    everything_was_done(reader, page(name))
    assert (reader.folder / "umbel.db").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("name", PAGES)
def test_on_redis(reader: Any, page: Any, own_redis: str, name: str) -> None:
    servers = f', broker="{own_redis}", backend="{own_redis}")'
    reader.change = lambda text: text.replace('app = Umbel("tasks")', f'app = Umbel("tasks"{servers}')
    reader.follow(page(name))
    everything_was_done(reader, page(name))
    assert not (reader.folder / "umbel.db").exists()
