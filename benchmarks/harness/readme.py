"""Puts the tables of a run between two markers in README.md, with the command and the machine that made them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness import page
from harness.table import markdown


def text(results: dict[str, Any]) -> str:
    machine = results["machine"]
    about = ", ".join(
        f"{name} {value}" for name, value in machine.items() if name not in ("cores", "processor", "memory")
    )
    who = "\n".join(
        f"- {name} ({', '.join(f'{package} {version}' for package, version in said['versions'].items())}): "
        + (f"acknowledges on {', '.join(said['acknowledges'])}" if said["acknowledges"] else "acknowledges nothing")
        + (f"; {said['note']}" if said["note"] else "")
        for name, said in results["contenders"].items()
    )
    rounds = f"medians of {results['rounds']} interleaved rounds" if results["rounds"] > 1 else "one round"
    if not results["complete"]:
        rounds += ", interrupted, so that some figures have fewer"
    return (
        f"Made on {results['date'][:10]} by `{results['command']}`: {results['tasks']:,} tasks, "
        f"{results['calls']} calls, {rounds}. {machine['cores']} cores ({machine['processor']}), "
        f"{machine['memory']}; {about}.\n\n"
        f"{who}\n\n{markdown(results)}"
    )


def write(results: dict[str, Any], path: Path) -> None:
    """Raises Failure where the file has no markers."""
    page.put(text(results), path, "results")
