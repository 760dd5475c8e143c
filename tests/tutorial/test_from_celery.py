"""What the page for those who come from Celery says is so."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("celery")

PAGE = Path(__file__).resolve().parents[2] / "docs" / "from-celery.md"
ROWS = re.findall(
    r"^\| `from (\S+) import ([^`]+)` \| .*`from (\S+) import ([^`]+)` \|$", PAGE.read_text("utf-8"), re.MULTILINE
)


def test_the_table_is_read() -> None:
    assert len(ROWS) == 9


@pytest.mark.parametrize(("old", "old_names", "new", "new_names"), ROWS, ids=[row[1] for row in ROWS])
def test_both_columns_can_be_imported(old: str, old_names: str, new: str, new_names: str) -> None:
    for module, names in ((old, old_names), (new, new_names)):
        for name in names.split(", "):
            assert hasattr(importlib.import_module(module), name), f"{module}.{name}"


def test_a_project_that_has_moved(reader: Any, page: Any) -> None:
    reader.follow(page("from-celery.md"))
    assert reader.run == [
        "proj/celery.py",
        "proj/celeryconfig.py",
        "proj/tasks.py",
        "umbel -A proj worker -l INFO -Q celery,reports",
        "session of 10 lines",
    ]
    assert "fetching https://a.example" in reader.log()
