"""Puts what was measured into a page, between two markers of its kind."""

from __future__ import annotations

from pathlib import Path

from harness.failure import Failure


def put(text: str, path: Path, kind: str) -> None:
    """Replace what stands between the markers of that kind.

    Raises:
        Failure: the page has no such markers.
    """
    begin, end = f"<!-- {kind}: begin -->", f"<!-- {kind}: end -->"
    page = path.read_text()
    if begin not in page or end not in page:
        raise Failure(f"{path} has no place for the tables: it needs the lines {begin} and {end}")
    head, rest = page.split(begin, 1)
    path.write_text(f"{head}{begin}\n{text}\n{end}{rest.split(end, 1)[1]}")
