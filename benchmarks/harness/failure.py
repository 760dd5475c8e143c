"""The one error of the harness: a contender did not do what it should have, and this is what its log says last."""

from __future__ import annotations

from pathlib import Path


class Failure(Exception):
    """A measurement that could not be made. The others go on."""

    def __init__(self, what: str, log: Path | None = None) -> None:
        tail = ""
        if log is not None and log.exists():
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-12:])
        super().__init__(f"{what}\n{tail}".rstrip())
        self.what = what
        self.tail = tail
