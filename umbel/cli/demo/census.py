"""What the demo counts: lines, classes, functions and names in source files."""

from __future__ import annotations

import ast
import warnings
from collections import Counter
from collections.abc import Iterable
from typing import Any

TOP = 10
"""How many names and how many slow tasks the end result has."""


def census(source: bytes) -> dict[str, Any]:
    """Count one file. Of a file that is no valid Python only the lines are counted, and ``error`` says why."""
    lines = source.count(b"\n") + (not source.endswith(b"\n") and bool(source))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else f"{type(error).__name__}: {error}"
        return {"lines": lines, "classes": 0, "functions": 0, "names": {}, "error": reason}
    classes = functions = 0
    names: Counter[str] = Counter()
    waiting: list[ast.AST] = [tree]
    # By hand, since ast.walk() takes twice the time.
    while waiting:
        node = waiting.pop()
        kind = node.__class__
        if kind is ast.Name:
            names[node.id] += 1  # type: ignore[attr-defined]
            continue
        if kind is ast.ClassDef:
            classes += 1
        elif kind is ast.FunctionDef or kind is ast.AsyncFunctionDef:
            functions += 1
        for value in node.__dict__.values():
            if isinstance(value, list):
                waiting += [child for child in value if isinstance(child, ast.AST)]
            elif isinstance(value, ast.AST):
                waiting.append(value)
    return {"lines": lines, "classes": classes, "functions": functions, "names": names, "error": None}


def total(counts: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Many counts as one, with the most used names, the slowest files and those that could not be parsed."""
    found: dict[str, Any] = {"files": 0, "lines": 0, "classes": 0, "functions": 0, "seconds": 0.0}
    names: Counter[str] = Counter()
    seconds: list[tuple[float, str, int]] = []
    unparsed: list[tuple[str, str]] = []
    for count in counts:
        found["files"] += 1
        for key in ("lines", "classes", "functions", "seconds"):
            found[key] += count[key]
        names.update(count["names"])
        seconds.append((count["seconds"], count["path"], count["lines"]))
        if count["error"]:
            unparsed.append((count["path"], count["error"]))
    # Among equals by name, so that the answer does not depend on the order in which the tasks ended.
    top = sorted(names.items(), key=lambda item: (-item[1], item[0]))[:TOP]
    return {
        **found,
        "names": top,
        "distinct_names": len(names),
        "slowest": sorted(seconds, reverse=True)[:TOP],
        "unparsed": sorted(unparsed),
    }
