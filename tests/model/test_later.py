"""Nothing is imported before it is needed."""

from __future__ import annotations

import subprocess
import sys

import pytest

from umbel.model.later import Later

RARE = (
    "asyncio", "billiard", "click", "difflib", "email", "hashlib", "hiredis", "importlib.metadata", "kombu",
    "multiprocessing", "pluggy", "redis", "rich", "socket", "sqlite3", "ssl", "subprocess", "urllib.request", "zipfile",
    "zoneinfo", "dataclasses", "inspect", "json", "random", "urllib", "umbel.canvas", "umbel.results", "umbel.wire",
    "umbel.app.connections", "umbel.app.tracer", "umbel_kernel.spi.broker", "umbel_kernel.spi.message",
)  # fmt: skip


def loaded(code: str) -> set[str]:
    program = f"import sys; {code}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    return set(done.stdout.split())


def test_import_umbel_is_next_to_nothing() -> None:
    more = loaded("import umbel") - loaded("import importlib, typing, __future__")
    assert more == {"umbel"}


def test_an_app_with_tasks_needs_none_of_these() -> None:
    code = "from umbel import Umbel; app = Umbel('it', broker='redis://'); app.task(name='it.p')(print); app.finalize()"
    there = loaded(code)
    assert there & set(RARE) == set()
    assert len(there) <= 145  # each takes about 0.2 ms; a bare interpreter has 32 of them


def test_the_version_is_told_without_an_app() -> None:
    assert "umbel.app.app" not in loaded("import umbel; umbel.__version__")


def test_a_module_comes_when_it_is_used() -> None:
    assert Later("string").ascii_lowercase.startswith("abc")
    with pytest.raises(AttributeError):
        _ = Later("string").nothing_of_this_name
    assert "colorsys" not in loaded("from umbel.model.later import Later; Later('colorsys')")
