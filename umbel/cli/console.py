"""Where commands print tables."""

from __future__ import annotations

import sys
from typing import Any

from rich.console import Console

PIPE_WIDTH = 200
"""Columns where the output is not a terminal, so that tables are not folded for whoever reads them."""


def console(invocation: Any, *, stderr: bool = False) -> Console:
    """A console on the standard output, or on the error output.

    Args:
        invocation: the global options, for ``no_color``.
    """
    stream = sys.stderr if stderr else sys.stdout
    return Console(
        file=stream,
        no_color=invocation.no_color or None,
        width=None if stream.isatty() else PIPE_WIDTH,
        highlight=False,
        emoji=False,
        markup=False,
    )
