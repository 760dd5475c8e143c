"""The contract of a result backend: what keeps the outcome of tasks."""

from __future__ import annotations

import enum
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NoReturn

from umbel_kernel.errors import NotSupported
from umbel_kernel.setting import Setting
from umbel_kernel.url import URL

READY_STATES = frozenset({"SUCCESS", "FAILURE", "REVOKED"})
"""States after which nothing more is expected of a task."""


class BackendCapability(enum.StrEnum):
    """What a backend can do beyond storing and fetching."""

    PUSH = "push"  # ``wait`` is told by the store and does not poll
    EXPIRES = "expires"  # the store drops what has expired by itself; without it ``cleanup`` does
    PERSISTENT = "persistent"  # results outlive the store's own process
    SHARED = "shared"  # any process may fetch any result; without it only the one that published the task can
    GROUPS = "groups"
    CHORDS = "chords"  # ``chord_parts`` counts; without it the framework has to poll
    CHORD_GROWTH = "chord_growth"  # ``chord_add`` adds members to a header that is under way
    CHORD_SIZE = "chord_size"  # finds the size of a chord that a program of Celery's began; its parts say 0
    GROUP_URL = "group_url"  # several URLs with ``;`` between them name one group of servers, all in ``URL.raw``
    FENCE = "fence"  # refuses a record whose ``fence`` is lower than that of the record it keeps
    REPLY_TO = "reply_to"  # results travel to ``reply_to``, which has to be put into each task's message


CHORD_CLAIM = 10.0
"""Seconds that whoever completed a chord's header has for it alone, to publish what follows."""


@dataclass(slots=True)
class Record:
    """The outcome, or the progress, of one task."""

    task_id: str
    state: str
    body: bytes  # the whole result document, serialised; what other Celery programs read
    content_type: str = "application/json"
    content_encoding: str = "utf-8"  # or ``binary``
    expires: float | None = None  # seconds to keep it; None for ever
    reply_to: str | None = None  # the ``reply_to`` of the task's message, for a backend with ``REPLY_TO``
    fence: int = 0  # of which run of the task: a later one, also after a redelivery, has a higher; below 2**53


@dataclass(slots=True)
class ChordPart:
    """One member of a chord's header that has ended."""

    group_id: str  # the header's group
    index: int  # the member's place in the header, from 0
    size: int  # how many members the header has
    task_id: str
    state: str
    body: bytes  # what the framework wants back when all are in
    expires: float | None = None  # seconds to keep it; None for ever
    # Of the member; asking again with it brings the same answer.
    run: str = field(default_factory=lambda: os.urandom(16).hex())
    fence: int = 0  # as in ``Record``


class Backend(ABC):
    """A result store. Its methods may be called from several threads.

    ``__init__`` does no I/O. After a fork the child makes a new one and does not touch the parent's.

    Args:
        url: where the store is.
        options: ``result_backend_transport_options`` together with the plugin's own settings by name.
        state_of: reads the state out of a result document, for stores that keep the document alone; raises
            ``DecodeError`` when it is none.
    """

    capabilities: ClassVar[frozenset[BackendCapability]] = frozenset()
    settings: ClassVar[tuple[Setting, ...]] = ()

    def __init__(self, url: URL, options: Mapping[str, Any] | None = None, *, state_of: Callable[[bytes], str]) -> None:
        self.url = url
        self.options: dict[str, Any] = dict(options or {})
        self.state_of = state_of

    @abstractmethod
    def connect(self, *, timeout: float) -> None:
        """Reach the store within ``timeout`` seconds; does nothing when already connected.

        Raises:
            OperationalError: it cannot be reached; the message has the masked URL and the cause.
        """

    @abstractmethod
    def store(self, records: Sequence[Record], *, timeout: float = 5.0) -> None:
        """Keep these, in order, and tell whoever waits for one of them. A record in state ``SUCCESS`` is never replaced
        by one in another state: a task that was delivered twice keeps its first success. With ``FENCE``, nor is any
        record by one with a lower ``fence``: a worker that was thought dead comes too late. Neither is an error.

        Raises:
            OperationalError: the store is away; all or some may not be kept. Storing again is harmless.
            BackendError: the store refuses, for example because a record is too large.
        """

    @abstractmethod
    def fetch(self, task_ids: Sequence[str], *, timeout: float = 5.0) -> dict[str, Record]:
        """What is known of these now. An id that nothing is known of is left out."""

    @abstractmethod
    def wait(self, task_ids: Sequence[str], *, timeout: float | None) -> dict[str, Record]:
        """Wait until at least one of these is in a ready state, and return all that are.

        Returns an empty dict after ``timeout`` seconds (None: no limit; 0: just look). One waiter may not take a
        record away from another that waits for the same id.

        Raises:
            OperationalError: the store went away and did not come back within the timeout; with no timeout, at once.
        """

    def expect(self, task_ids: Sequence[str]) -> None:  # noqa: B027 - a default, not a duty
        """Called before tasks are published whose results this process may wait for. Default: nothing."""

    @property
    def reply_to(self) -> str | None:
        """What to put into the ``reply_to`` of this process's task messages. Default: None."""
        return None

    @abstractmethod
    def forget(self, task_ids: Sequence[str], *, timeout: float = 5.0) -> None:
        """Drop what is kept of these, ready or not."""

    def store_group(self, group_id: str, body: bytes, *, expires: float | None, timeout: float = 5.0) -> None:
        """Keep the description of a group. Only with ``GROUPS``."""
        self._refuse("keeps no groups")

    def fetch_group(self, group_id: str, *, timeout: float = 5.0) -> bytes | None:
        """The description of a group, or None. Only with ``GROUPS``."""
        self._refuse("keeps no groups")

    def forget_group(self, group_id: str, *, timeout: float = 5.0) -> None:
        """Drop the description of a group. Only with ``GROUPS``."""
        self._refuse("keeps no groups")

    def begin_chord(  # noqa: B027 - a default, not a duty
        self, group_id: str, size: int, *, expires: float | None, timeout: float = 5.0
    ) -> None:
        """Called before the first member of a header is sent, so that one that has ended and is sent again is counted
        anew. Default: nothing."""

    def chord_parts(self, parts: Sequence[ChordPart], *, timeout: float = 5.0) -> list[bool]:
        """Count members by their indexes, so that one that ends twice counts once, with the part whose record ``store``
        would keep; one after the other, in one trip. Only with ``CHORDS``.

        Returns for each whether it is its run's to end the chord. It is that of one part, which made the header
        complete; until ``chord_end`` is called, also that of a part of the same index, since whoever was told may have
        died before it could publish what follows; and after ``CHORD_CLAIM`` seconds that of any part.

        Raises:
            OperationalError: the store is away; all or some may be counted. Counting again is harmless.
        """
        self._refuse("counts no chords")

    def chord_bodies(self, part: ChordPart, *, timeout: float = 5.0) -> list[bytes] | None:
        """The bodies of all members in the order of their indexes, for the part whose run is to end the chord; None
        when another run has been told to since, or the chord has ended. Only with ``CHORDS``."""
        self._refuse("counts no chords")

    def chord_end(self, group_id: str, run: str, *, expires: float | None, timeout: float = 5.0) -> bool:
        """Called with the ``ChordPart.run`` that was told to end it: once what follows is published, and before it
        runs. Whether this run is the one that counts, which is the first that this is called for; so what was published
        twice runs once. The parts are dropped. A name that nothing was counted of will do. Only with ``CHORDS``."""
        self._refuse("counts no chords")

    def chord_add(
        self, group_id: str, size: int, member: str, *, expires: float | None, timeout: float = 5.0
    ) -> int | None:
        """Let a header have one more member than was said, and return its index, which comes after all others; the same
        index when asked again for the same ``member``. None when the header is complete. Only with ``CHORD_GROWTH``.

        Args:
            size: as in ``ChordPart``, without what was added.
            member: a name that no other addition to this header has.
        """
        self._refuse("adds nothing to a chord that was sent")

    def cleanup(self, *, timeout: float = 60.0) -> int:
        """Drop what has expired, for stores that do not do so themselves. Returns how many. Default: 0."""
        return 0

    def _refuse(self, what: str) -> NoReturn:
        raise NotSupported(f"{type(self).__name__} {what}; use a backend that does")

    @abstractmethod
    def close(self) -> None:
        """Close the connection. Never raises; a second call does nothing."""
