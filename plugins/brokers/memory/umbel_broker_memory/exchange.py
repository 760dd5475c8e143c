"""An exchange in memory: which queues a routing key leads to."""

from __future__ import annotations

from collections.abc import Iterable

from umbel_kernel.spi.topology import Exchange

ROUTES_KEPT = 10_000
"""How many routing keys an exchange remembers the way of."""


class MemoryExchange:
    """Bindings of one exchange."""

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self._bound: dict[str, dict[str, None]] = {}
        self._routes: dict[str, tuple[str, ...]] = {}

    @property
    def bound(self) -> bool:
        """Whether any queue is bound."""
        return bool(self._bound)

    def bind(self, queue: str, routing_key: str) -> None:
        """Bind a queue; harmless when it is bound."""
        self._bound.setdefault(routing_key, {})[queue] = None
        self._routes.clear()

    def unbind(self, queue: str) -> None:
        """Forget a queue."""
        for routing_key, queues in list(self._bound.items()):
            queues.pop(queue, None)
            if not queues:
                del self._bound[routing_key]
        self._routes.clear()

    def route(self, routing_key: str) -> tuple[str, ...]:
        """The queues that get a message with this key, each once."""
        found = self._routes.get(routing_key)
        if found is None:
            if len(self._routes) >= ROUTES_KEPT:
                self._routes.clear()
            found = self._routes[routing_key] = tuple(dict.fromkeys(self._matches(routing_key)))
        return found

    def _matches(self, routing_key: str) -> Iterable[str]:
        if self.exchange.type == "direct":
            return self._bound.get(routing_key, ())
        return [
            queue
            for pattern, queues in self._bound.items()
            if self.exchange.type == "fanout" or topic_matches(pattern, routing_key)
            for queue in queues
        ]


def topic_matches(pattern: str, routing_key: str) -> bool:
    """AMQP 0-9-1's topic patterns: words between dots, ``*`` for one word, ``#`` for none or more."""
    words = routing_key.split(".")
    covered = {0}
    for part in pattern.split("."):
        if part == "#":
            covered = set(range(min(covered), len(words) + 1))
        else:
            covered = {count + 1 for count in covered if count < len(words) and part in ("*", words[count])}
        if not covered:
            return False
    return len(words) in covered
