"""Which kombu transport a URL names, and what it can do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kombu.connection import Connection
from kombu.transport import TRANSPORT_ALIASES, get_transport_cls, virtual

from umbel_kernel.errors import ConfigurationError
from umbel_kernel.spi.broker import BrokerCapability
from umbel_kernel.url import URL

_KNOWN: dict[str, frozenset[BrokerCapability]] = {
    "amqp": frozenset(
        {
            BrokerCapability.PRIORITY,
            BrokerCapability.TTL,
            BrokerCapability.CONFIRM,
            BrokerCapability.ATOMIC_RECEIVE,
            BrokerCapability.PERSISTENT,
            BrokerCapability.SHARED,
        }
    ),
    "redis": frozenset({BrokerCapability.PRIORITY, BrokerCapability.PERSISTENT, BrokerCapability.SHARED}),
    "memory": frozenset(),
}
_STORED = frozenset({BrokerCapability.PERSISTENT, BrokerCapability.SHARED})


class Transport:
    """What follows ``kombu+`` in a URL, made into kombu's connections.

    Attributes:
        capabilities: by what kombu says that the transport implements, and by its driver where kombu does not say.
        virtual: whether kombu emulates AMQP on it.
        exchange_types: the types that may be declared.

    Raises:
        ConfigurationError: kombu knows no such transport, or its client library is missing.
    """

    def __init__(self, url: URL, options: Mapping[str, Any]) -> None:
        self.shown = url.masked()
        scheme, _, rest = url.raw.partition("://")
        _, _, inner = scheme.partition("+")
        if not inner:
            raise ConfigurationError(
                f"{self.shown} names no kombu transport; write it as in kombu+filesystem:// or kombu+sqs://"
            )
        self._url = f"{inner}://{rest}"
        name = inner.partition("+")[0].lower()
        try:
            found: Any = get_transport_cls(name)
        except (KeyError, ImportError, NameError, AttributeError) as error:
            raise ConfigurationError(
                f"{self.shown} names the kombu transport {name!r}, which fails: {type(error).__name__}: {error}; "
                f"kombu knows {', '.join(sorted(TRANSPORT_ALIASES))}, and most of these need a client library"
            ) from error
        self.virtual = issubclass(found, virtual.Transport)
        self.driver = str(found.driver_type)
        self.exchange_types: frozenset[str] = frozenset(found.implements.exchange_type)
        self.heartbeats = bool(found.implements.heartbeats)
        self.capabilities = self._capabilities(found)
        self._options = {key: value for key, value in options.items() if not key.startswith("broker_")}
        self._tls = options.get("broker_use_ssl")
        self._heartbeat = float(options.get("broker_heartbeat") or 0.0)
        self._patience = float(options.get("socket_timeout") or 5.0)

    def connection(self, timeout: float, *, consuming: bool = False) -> Any:
        """A connection of kombu, not yet open."""
        options = dict(self._options)
        if self.driver == "amqp":
            options.setdefault("confirm_publish", not consuming)
            options.setdefault("read_timeout", self._patience)
            options.setdefault("write_timeout", self._patience)
        if self.driver == "redis":
            options.setdefault("socket_timeout", self._patience)
            options.setdefault("socket_connect_timeout", timeout)
        make: Any = Connection
        return make(
            self._url,
            connect_timeout=timeout,
            transport_options=options,
            ssl=self._tls or False,
            heartbeat=self._heartbeat if consuming and self.heartbeats else 0,
        )

    def _capabilities(self, found: Any) -> frozenset[BrokerCapability]:
        able = set(_KNOWN.get(self.driver, _STORED))
        if "topic" in self.exchange_types:
            able.add(BrokerCapability.TOPIC)
        if "fanout" in self.exchange_types:
            able.add(BrokerCapability.FANOUT)
        if not self.virtual or found.Channel._size is not virtual.Channel._size:
            able.add(BrokerCapability.SIZE)
        return frozenset(able)
