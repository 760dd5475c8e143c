"""An option of the command line that takes some of several names."""

from __future__ import annotations

import argparse
from collections.abc import Callable


def some_of(known: tuple[str, ...]) -> Callable[[str], tuple[str, ...]]:
    """Reads names with commas between them.

    Raises:
        argparse.ArgumentTypeError: there is none, or one that is not known.
    """

    def read(text: str) -> tuple[str, ...]:
        names = tuple(name.strip() for name in text.split(",") if name.strip())
        unknown = [name for name in names if name not in known]
        if unknown or not names:
            raise argparse.ArgumentTypeError(f"{', '.join(unknown) or 'nothing'}: choose among {', '.join(known)}")
        return names

    return read
