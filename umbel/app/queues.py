"""The queues that an app knows: configured ones, and those made when a name turns up."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from umbel.model.exceptions import QueueNotFound
from umbel_kernel.errors import ConfigurationError
from umbel_kernel.spi.topology import Binding, Exchange, Queue


class Queues(Mapping[str, Queue]):
    """Queues by name. ``consume_from`` are those that a worker reads."""

    def __init__(self, conf: Any) -> None:
        self._conf = conf
        self._found: dict[str, Queue] = {}
        self._selected: dict[str, Queue] | None = None
        self._deselected: set[str] = set()
        self.default_exchange = Exchange(
            conf.task_default_exchange or conf.task_default_queue, conf.task_default_exchange_type
        )
        given = conf.task_queues
        if given is None:
            self._found[conf.task_default_queue] = self._make(
                conf.task_default_queue, conf.task_default_queue_type, conf.task_default_routing_key
            )
            return
        named = given.items() if isinstance(given, Mapping) else ((None, queue) for queue in given)
        for name, queue in named:
            made = self._adopt(queue, name)
            self._found[made.name] = made

    def __getitem__(self, name: str) -> Queue:
        """A queue by name, made when missing and ``task_create_missing_queues`` allows it.

        Raises:
            QueueNotFound: it does not.
        """
        queue = self._found.get(name)
        if queue is None:
            if not self._conf.task_create_missing_queues:
                raise QueueNotFound(
                    f"no queue {name!r} in task_queues, and task_create_missing_queues is off; "
                    f"there are: {', '.join(sorted(self._found))}"
                )
            queue = self._found[name] = self._make(name, self._conf.task_create_missing_queue_type, None)
        return queue

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)

    def __contains__(self, name: object) -> bool:
        return name in self._found

    @property
    def consume_from(self) -> list[Queue]:
        """What a worker reads: the selected queues, else all of them, without the deselected."""
        chosen = self._found if self._selected is None else self._selected
        return [queue for name, queue in chosen.items() if name not in self._deselected]

    def select(self, names: Iterable[str]) -> None:
        """Read from these queues only."""
        self._selected = {name: self[name] for name in names}

    def deselect(self, names: Iterable[str]) -> None:
        """Do not read from these queues."""
        self._deselected.update(names)

    def add(self, queue: Any) -> Queue:
        """Add a queue, and read from it where a choice was made."""
        made = self._adopt(queue, None) if not isinstance(queue, str) else self[queue]
        self._found[made.name] = made
        if self._selected is not None:
            self._selected[made.name] = made
        return made

    def _make(self, name: str, queue_type: str, routing_key: str | None) -> Queue:
        exchange = self.default_exchange
        if name != self._conf.task_default_queue and exchange.type == "direct":
            exchange = Exchange(name, self._conf.task_create_missing_queue_exchange_type or "direct")
        arguments = {"x-queue-type": "quorum"} if queue_type == "quorum" else {}
        return Queue(
            name,
            bindings=(Binding(exchange, routing_key or name),),
            max_priority=self._conf.task_queue_max_priority,
            arguments=arguments,
        )

    def _adopt(self, given: Any, name: str | None) -> Queue:
        if isinstance(given, Queue):
            return given if given.bindings else self._bound(given)
        if isinstance(given, str):
            return self._make(given, self._conf.task_create_missing_queue_type, None)
        if isinstance(given, Mapping):
            return self._from_mapping(name or given.get("name") or "", given)
        if hasattr(given, "name") and hasattr(given, "routing_key"):
            return self._from_object(given)
        raise ConfigurationError(
            f"task_queues holds {given!r:.80}; a queue is a name, a mapping, an umbel Queue or a kombu Queue"
        )

    def _bound(self, queue: Queue) -> Queue:
        bindings = (Binding(self.default_exchange, queue.name),)
        return Queue(
            queue.name,
            bindings,
            queue.durable,
            queue.exclusive,
            queue.auto_delete,
            queue.max_priority,
            queue.expires,
            queue.message_ttl,
            queue.arguments,
        )

    def _from_mapping(self, name: str, given: Mapping[str, Any]) -> Queue:
        if not name:
            raise ConfigurationError(f"task_queues holds a mapping without a name: {dict(given)!r:.80}")
        exchange = Exchange(
            given.get("exchange") or self.default_exchange.name,
            given.get("exchange_type") or self.default_exchange.type,
        )
        key = given.get("routing_key") or given.get("binding_key") or name
        return Queue(
            name,
            (Binding(exchange, key),),
            max_priority=given.get("max_priority") or self._conf.task_queue_max_priority,
            arguments=dict(given.get("queue_arguments") or {}),
        )

    def _from_object(self, given: Any) -> Queue:
        """Read a ``kombu.Queue``, or what looks like one, by its attributes."""
        bindings = [
            Binding(self._exchange(bound.exchange), bound.routing_key or "", dict(bound.arguments or {}))
            for bound in getattr(given, "bindings", None) or ()
        ]
        if not bindings:
            exchange = self._exchange(given.exchange)
            bindings = [Binding(exchange, given.routing_key or given.name, dict(given.binding_arguments or {}))]
        arguments = dict(given.queue_arguments or {})
        return Queue(
            given.name,
            tuple(bindings),
            durable=given.durable is not False,
            exclusive=bool(given.exclusive),
            auto_delete=bool(given.auto_delete),
            max_priority=given.max_priority
            or arguments.pop("x-max-priority", None)
            or self._conf.task_queue_max_priority,
            expires=given.expires,
            message_ttl=given.message_ttl,
            arguments=arguments,
        )

    def _exchange(self, given: Any) -> Exchange:
        if given is None or not getattr(given, "name", None):
            return self.default_exchange
        return Exchange(
            given.name,
            given.type or "direct",
            durable=given.durable is not False,
            auto_delete=bool(given.auto_delete),
            arguments=dict(given.arguments or {}),
        )
