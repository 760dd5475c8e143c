"""Where kombu's Redis transport keeps things, so that Celery's clients and workers share the queues.

A queue is one list for each priority step, pushed on the left and popped on the right; step 0 bears the queue's own
name and is read first. A binding is a member of a set for each exchange. A fanout exchange is a pub/sub channel.
Keys that begin with ``umbel.`` are ours alone.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from umbel_kernel.errors import ConfigurationError

STEPS = (0, 3, 6, 9)
_WORDS = {"*": r"[^\.]+", "#": r".*?"}


class Layout:
    """The key names of one database, by the transport options of kombu.

    Attributes:
        unacked, index: kombu's, of what Celery's consumers hold.
        consumers: the sorted set of the consumers of umbel that hold something.

    Args:
        options: ``global_keyprefix``, ``sep``, ``priority_steps``, ``fanout_prefix``, ``fanout_patterns``,
            ``unacked_key``, ``unacked_index_key``.
        db: the number of the database, which is part of the pub/sub channels.
    """

    def __init__(self, options: Mapping[str, Any], db: int) -> None:
        self.prefix = str(options.get("global_keyprefix") or "")
        self.sep = str(options.get("sep") or "\x06\x16")
        self.steps = tuple(sorted(int(step) for step in options.get("priority_steps") or STEPS))
        if not self.steps:
            raise ConfigurationError("priority_steps is empty; it needs at least one number, as in [0, 3, 6, 9]")
        self.unacked = self.prefix + str(options.get("unacked_key") or "unacked")
        self.index = self.prefix + str(options.get("unacked_index_key") or "unacked_index")
        self.consumers = f"{self.prefix}umbel.consumers"
        fanout = options.get("fanout_prefix", True)
        wanted = fanout if isinstance(fanout, str) else "/{db}." if fanout else ""
        self.fanout_prefix = self.prefix + wanted.format(db=db)
        self.fanout_patterns = bool(options.get("fanout_patterns", True))

    def key(self, queue: str, priority: int | None) -> str:
        """The list that a message of this priority goes to."""
        number = max(0, min(9, int(priority or 0)))
        step = self.steps[max(0, bisect(self.steps, number) - 1)]
        return f"{self.prefix}{queue}{self.sep}{step}" if step else f"{self.prefix}{queue}"

    def keys(self, queue: str) -> list[str]:
        """Every list of a queue, in the order in which they are read."""
        return [f"{self.prefix}{queue}{self.sep}{step}" if step else f"{self.prefix}{queue}" for step in self.steps]

    def held(self, identity: str) -> str:
        """The hash of what a consumer of umbel holds."""
        return f"{self.prefix}umbel.unacked.{identity}"

    def parked(self, key: str) -> str:
        """The sorted set of what waits to come to a list of this name, each with the millisecond of its time."""
        return f"{self.prefix}umbel.parked.{key.removeprefix(self.prefix)}"

    def readers(self, queue: str) -> str:
        """The sorted set of the consumers of umbel that bring what waits to a queue's lists, while anything does."""
        return f"{self.prefix}umbel.readers.{queue}"

    def all_keys(self, queue: str) -> list[str]:
        """Every key of a queue's own."""
        keys = self.keys(queue)
        return [*keys, *map(self.parked, keys), self.readers(queue)]

    def temporary(self, identity: str) -> str:
        """The hash of the queues that end with a consumer of umbel."""
        return f"{self.prefix}umbel.temporary.{identity}"

    def bindings(self, exchange: str) -> str:
        """The set of an exchange's bindings."""
        return f"{self.prefix}_kombu.binding.{exchange}"

    def permanent(self, exchange: str) -> str:
        """The set of an exchange's bindings to queues that do not expire."""
        return f"{self.prefix}_kombu.binding_permanent.{exchange}"

    @property
    def deadlines(self) -> str:
        """The sorted set that says when the bindings of an exchange with expiring queues go."""
        return f"{self.prefix}_kombu.binding_deadlines"

    def member(self, kind: str, routing_key: str, queue: str) -> str:
        """How a binding is written."""
        pattern = topic_pattern(routing_key) if kind == "topic" else ""
        return self.sep.join((routing_key, pattern, queue))

    def split(self, member: bytes) -> tuple[str, str, str] | None:
        """Routing key, topic pattern and queue of a binding; None when it is none."""
        parts = member.decode("utf-8", "replace").split(self.sep)
        return (parts[0], parts[1], parts[2]) if len(parts) == 3 else None

    def channel(self, exchange: str, routing_key: str) -> str:
        """The pub/sub channel that a message to a fanout exchange is published on."""
        if routing_key and self.fanout_patterns:
            return f"{self.fanout_prefix}{exchange}/{routing_key}"
        return f"{self.fanout_prefix}{exchange}"

    def patterns(self, exchange: str) -> tuple[str, str]:
        """What a queue of a fanout exchange listens to: all its channels, since a fanout asks for no routing key."""
        return f"{self.fanout_prefix}{exchange}", f"{self.fanout_prefix}{exchange}/*"


def topic_pattern(routing_key: str) -> str:
    """The regular expression that stands for a topic binding's key, written as kombu writes it."""
    escaped = "".join(c if c.isalnum() or c in ".#*" else "\\" + c for c in routing_key)
    return "^" + r"\.".join(_WORDS.get(word, word) for word in escaped.split(".")) + "$"


@lru_cache(maxsize=4096)
def topic_matches(pattern: str, routing_key: str) -> bool:
    """Whether a topic binding's key matches: ``*`` is one word, ``#`` any number of words, as AMQP 0-9-1 says.

    kombu's own expression for ``#`` asks for the dot before it; here ``a.#`` also matches ``a``.
    """
    return _match(pattern.split("."), routing_key.split("."))


def _match(pattern: Sequence[str], words: Sequence[str]) -> bool:
    if not pattern:
        return not words
    if pattern[0] == "#":
        return _match(pattern[1:], words) or (bool(words) and _match(pattern, words[1:]))
    return bool(words) and pattern[0] in ("*", words[0]) and _match(pattern[1:], words[1:])
