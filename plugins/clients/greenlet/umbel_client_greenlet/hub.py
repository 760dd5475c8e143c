"""What a pool needs of a hub: the greenlet that waits for all others, one in each thread of the system."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Protocol

from greenlet import greenlet


class Pending(Protocol):
    """Something that the hub is to do."""

    def cancel(self) -> None:
        """Forget it; harmless when it was done."""
        ...


class Hub(ABC):
    """The hub of the calling thread. It has no state, so that one object serves all threads.

    What a hub calls is called in the hub's own greenlet: it must not wait, but may switch to another greenlet.
    """

    name: str
    """The library's name, for people."""

    @abstractmethod
    def missing(self) -> list[str]:
        """The modules of the standard library that are not patched and have to be."""

    @abstractmethod
    def native(self, module: str, name: str) -> Any:
        """What stood under this name in a module of the standard library before it was patched."""

    @abstractmethod
    def spawn(self, run: Callable[..., None], *args: Any) -> greenlet:
        """A new greenlet, which the hub starts soon."""

    @abstractmethod
    def soon(self, call: Callable[..., Any], *args: Any) -> None:
        """Have something called at the hub's next turn."""

    @abstractmethod
    def later(self, seconds: float, call: Callable[..., Any], *args: Any) -> Pending:
        """Have something called after so many seconds."""

    @abstractmethod
    def watch(self, descriptor: int, *, writing: bool, call: Callable[[], None]) -> Pending:
        """Have something called when a descriptor is readable, or writable; maybe more than once, until cancelled."""

    @abstractmethod
    def wait(self) -> None:
        """Give way to the hub until somebody switches back to the calling greenlet."""

    @abstractmethod
    def sleep(self, seconds: float) -> None:
        """Let the others run for so long; 0 for one turn."""
