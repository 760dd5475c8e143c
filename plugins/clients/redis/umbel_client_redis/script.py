"""What has to be one step for the server."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Script:
    """A Lua script and the name by which the server keeps it."""

    text: str
    sha: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "sha", hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest())


def run(script: Script, keys: Sequence[str], *arguments: Any) -> tuple[Any, ...]:
    """The command that runs a script on these keys and no others."""
    return ("EVALSHA", script.sha, len(keys), *keys, *arguments)
