"""The house stays small: files split in time, no drawers, and no notes to oneself."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("kernel", "testkit", "umbel", "plugins", "tests", "examples", "tools")
DRAWERS = {"utils", "util", "helpers", "helper", "common", "misc", "stuff"}
# Put together here, so that this file does not find itself.
NOTES = re.compile("|".join(rf"\b{first}{rest}\b" for first, rest in (("X", "XX"), ("TO", "DO"), ("FIX", "ME"))))

FILES = sorted(
    path
    for folder in FOLDERS
    for path in (ROOT / folder).rglob("*.py")
    if not any(part.startswith(".") or part in ("build", "dist") for part in path.relative_to(ROOT).parts)
)


def lines(path: Path) -> list[str]:
    return path.read_text("utf-8").splitlines()


def test_the_tree_was_read() -> None:
    assert {"blueprint.py", "content.py", "test_house.py"} <= {path.name for path in FILES}


def test_the_kernel_is_under_1500_lines() -> None:
    """Blank lines are not counted; docstrings and comments are."""
    counted = {
        path.relative_to(ROOT).as_posix(): sum(1 for line in lines(path) if line.strip())
        for path in (ROOT / "kernel" / "umbel_kernel").rglob("*.py")
    }
    assert sum(counted.values()) < 1500, counted


def test_no_file_is_over_500_lines() -> None:
    assert {path.relative_to(ROOT).as_posix(): len(lines(path)) for path in FILES if len(lines(path)) > 500} == {}


def test_there_is_no_drawer() -> None:
    found = [
        path.relative_to(ROOT).as_posix()
        for path in FILES
        if DRAWERS & {path.stem, *path.relative_to(ROOT).parent.parts}
    ]
    assert found == []


def test_nobody_left_a_note_to_himself() -> None:
    found = [
        f"{path.relative_to(ROOT).as_posix()}:{number}"
        for path in FILES
        for number, line in enumerate(lines(path), 1)
        if NOTES.search(line)
    ]
    assert found == []


def test_every_module_says_what_it_is() -> None:
    silent = [
        path.relative_to(ROOT).as_posix()
        for path in FILES
        if path.read_text("utf-8").strip() and not path.read_text("utf-8").lstrip().startswith(('"""', 'r"""', "#!"))
    ]
    assert silent == []


def test_links_in_the_documents_lead_somewhere() -> None:
    documents = [
        path
        for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md"))
        if not any(part.startswith(".") for part in path.relative_to(ROOT).parts)
    ]
    assert ROOT / "README.md" in documents
    broken = [
        f"{path.relative_to(ROOT).as_posix()}: {link}"
        for path in documents
        for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", path.read_text("utf-8"))
        if "://" not in link and not link.startswith("mailto:") and not (path.parent / link).exists()
    ]
    assert broken == []
