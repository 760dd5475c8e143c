"""A step: one part of a program that is started and stopped in the right order."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar


class Context(Mapping[str, Any]):
    """What the steps of one blueprint have provided so far, readable as attributes too.

    The blueprint's owner puts its own facts in at construction (``app``, ``options``, …). Steps read; only the
    blueprint writes, with what ``start`` returned. A parent answers for names that are not here.
    """

    def __init__(self, parent: Context | None = None, /, **facts: Any) -> None:
        self._parent = parent
        self._facts: dict[str, Any] = facts

    def __getitem__(self, name: str) -> Any:
        if name in self._facts or self._parent is None:
            return self._facts[name]
        return self._parent[name]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        if name not in self:
            raise AttributeError(f"nothing named {name!r} is provided; there is: {', '.join(sorted(self))}")
        return self[name]

    def __iter__(self) -> Iterator[str]:
        return iter({**self._facts, **dict.fromkeys(self._parent or ())})

    def __len__(self) -> int:
        return len({*self._facts, *(self._parent or ())})

    def _put(self, name: str, value: Any) -> None:
        self._facts[name] = value

    def _drop(self, name: str) -> None:
        self._facts.pop(name, None)


class Step:
    """Subclass it, name what it provides and requires, and return what it provides from ``start``."""

    name: ClassVar[str] = ""  # how messages, graphs and ``requires`` call it; by default the class name in snake case
    provides: ClassVar[tuple[str, ...]] = ()  # the names that ``start`` returns values for
    requires: ClassVar[tuple[str, ...]] = ()  # other steps, or what they provide, that must be started before
    wants: ClassVar[tuple[str, ...]] = ()  # like ``requires``, but only when such a step is there
    last: ClassVar[bool] = False  # started after every step that is not ``last``

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "name" not in cls.__dict__:
            cls.name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", cls.__name__).lower()

    def include_if(self, context: Context) -> bool:
        """Whether to take part at all; asked once for each start of the blueprint. Default: yes."""
        return True

    def start(self, context: Context) -> Any:
        """Begin. Return the value of the one name provided, or a mapping when there are several.

        An error ends the start of the blueprint; the steps already started are stopped in reverse.
        """
        return None

    def stop(self, context: Context) -> None:
        """End in good order: finish what is in hand. Called in reverse order of start."""

    def close(self, context: Context) -> None:
        """Take nothing new in. Called on every step, in reverse order, before the first ``stop``."""

    def terminate(self, context: Context) -> None:
        """End at once. Default: ``stop``."""
        self.stop(context)

    def info(self, context: Context) -> Mapping[str, Any]:
        """Facts for people and remote control. Default: none."""
        return {}
