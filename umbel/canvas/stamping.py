"""Stamps: headers that a user puts on the tasks of a workflow, one by one or by a visitor that walks through it.

A stamp is an option of the signature, and ``stamped_headers`` is the list of the options that are stamps. Which stamps
a task ends up with, and in which order a visitor is called, is Celery's.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from copy import deepcopy
from typing import Any

NAMES = "stamped_headers"


class StampingVisitor(ABC):
    """Says which stamps the parts of a workflow get. ``signature.stamp(visitor)`` walks through it.

    Each method but the ``..._end`` ones returns a dict of stamps, or None. A key ``stamped_headers`` in it says which
    of them are stamps; all are when there is none. What is returned for a group, a chain or a chord's header goes to
    all that is inside. ``headers`` are the stamps from outside.
    """

    @abstractmethod
    def on_signature(self, sig: Any, **headers: Any) -> dict[str, Any] | None:
        """Called for each single task."""

    def on_group_start(self, group: Any, **headers: Any) -> dict[str, Any] | None:
        """Called for a group, before its tasks."""
        return {}

    def on_group_end(self, group: Any, **headers: Any) -> None:  # noqa: B027 (nothing is what most want)
        """Called for a group, after its tasks."""

    def on_chain_start(self, chain: Any, **headers: Any) -> dict[str, Any] | None:
        """Called for a chain, before its tasks."""
        return {}

    def on_chain_end(self, chain: Any, **headers: Any) -> None:  # noqa: B027 (as above)
        """Called for a chain, after its tasks."""

    def on_chord_header_start(self, sig: Any, **header: Any) -> dict[str, Any] | None:
        """Called for a chord, before the tasks of its header. Default: what ``on_group_start`` returns for them."""
        return self.on_group_start(_header_of(sig), **header)

    def on_chord_header_end(self, sig: Any, **header: Any) -> None:
        """Called for a chord, after the tasks of its header. Default: ``on_group_end`` with them."""
        self.on_group_end(_header_of(sig), **header)

    def on_chord_body(self, sig: Any, **header: Any) -> dict[str, Any] | None:
        """Called for a chord, before its body."""
        return {}

    def on_callback(self, callback: Any, **header: Any) -> dict[str, Any] | None:
        """Called for each callback, before ``on_signature`` is."""
        return {}

    def on_errback(self, errback: Any, **header: Any) -> dict[str, Any] | None:
        """Called for each errback, before ``on_signature`` is."""
        return {}


def collect(
    given: Mapping[str, Any], visited: Mapping[str, Any] | None, own: Mapping[str, Any] | None, append: bool
) -> dict[str, Any]:
    """The stamps of one signature, with ``stamped_headers``, from all who have a say.

    Args:
        given: from outside, or by the caller. These go over the others.
        visited: what the visitor returned; None when there is no visitor.
        own: the signature's options, whose stamps stay; None to leave them out.
        append: make a list of all the values of a stamp, instead of keeping the first.
    """
    names = dict.fromkeys(_names_of(given))
    stamps = {name: value for name, value in given.items() if name != NAMES}
    if visited is not None:
        names.update(dict.fromkeys(_names_of(visited)))
        stamps = _merged(stamps, {name: value for name, value in visited.items() if name != NAMES}, append)
    if own is not None:
        names.update(dict.fromkeys(own.get(NAMES) or ()))
        stamps = _merged(stamps, {name: value for name, value in own.items() if name in names}, append)
    return {**stamps, NAMES: list(names)}


def stamp_one(sig: Any, visitor: Any, append: bool, headers: dict[str, Any]) -> Any:
    """Stamp a single task and what is linked to it; returns it."""
    stamp_links(sig, visitor, append, headers)
    visited = None if visitor is None else visitor.on_signature(sig, **headers) or {}
    return sig.set(**collect(headers, visited, sig["options"], append))


def stamp_links(sig: Any, visitor: Any, append: bool, headers: Mapping[str, Any]) -> None:
    """Stamp the callbacks and errbacks of a signature. They do not get the signature's own stamps."""
    for option, call in (("link", "on_callback"), ("link_error", "on_errback")):
        links = sig["options"].get(option)
        if not links:
            continue
        links = list(links) if isinstance(links, list | tuple) else [links]
        stamps = deepcopy(dict(headers))
        for place, link in enumerate(links):
            links[place] = link = _as_signature(sig, link)
            visited = None if visitor is None else getattr(visitor, call)(link, **stamps) or {}
            # As in Celery, what a visitor says of one goes to those that follow it as well.
            stamps = collect(stamps, visited, None, append)
            link.stamp(visitor, append, **stamps)
        sig["options"][option] = links


def stamp_parts(
    sig: Any, parts: Iterable[Any], visitor: Any, append: bool, headers: dict[str, Any], kind: str
) -> dict[str, Any]:
    """Stamp the tasks of a group, a chain or a chord's header, and what is linked to the whole; returns their stamps.

    Args:
        kind: ``group``, ``chain`` or ``chord_header``, as in the names of the visitor's methods.
    """
    visited = None if visitor is None else getattr(visitor, f"on_{kind}_start")(sig, **headers) or {}
    stamps = collect(headers, visited, sig["options"], append)
    # Callbacks of a chain as a whole are not appended to, as in Celery.
    stamp_links(sig, visitor, append and kind != "chain", stamps)
    for part in parts:
        part.stamp(visitor, append, **stamps)
    if visitor is not None:
        getattr(visitor, f"on_{kind}_end")(sig, **stamps)
    return stamps


def _header_of(chord: Any) -> Any:
    tasks = chord.tasks
    return chord.TYPES["group"](tasks, app=chord._app) if isinstance(tasks, list | tuple) else tasks


def _as_signature(sig: Any, value: Any) -> Any:
    return sig.from_dict(value, app=sig._app) if type(value) is dict else value


def _names_of(stamps: Mapping[str, Any]) -> Iterable[str]:
    names = stamps.get(NAMES)
    return [name for name in stamps if name != NAMES] if names is None else names


def _merged(stamps: Mapping[str, Any], more: Mapping[str, Any], append: bool) -> dict[str, Any]:
    """Stamps with others below them: two lists are joined, and with ``append`` any two values."""
    result = dict(stamps)
    for name, value in more.items():
        if name not in result:
            result[name] = value
            continue
        held = result[name]
        if isinstance(held, dict):
            if isinstance(value, dict):
                result[name] = _merged(held, value, append)
            continue
        if append and isinstance(held, int | float | str):
            held = [held]
        if isinstance(held, list) and isinstance(value, list):
            result[name] = [*held, *value]
        elif append:
            result[name] = [*(() if held is None else held), value]
    return result
