"""The broker that carries the replies, reached through kombu."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import kombu.exceptions
from kombu.connection import Connection

from umbel_kernel.errors import ConfigurationError, OperationalError
from umbel_kernel.url import URL, mask


class Link:
    """Makes connections to the broker named by the option ``broker_url``.

    Raises:
        ConfigurationError: there is no such option, or kombu knows no such transport.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        given = options.get("broker_url")
        if isinstance(given, (list, tuple)):
            given = given[0] if given else None
        if not isinstance(given, str) or not given:
            raise ConfigurationError("the rpc backend sends results through the broker and needs the option broker_url")
        first = given.split(";")[0]
        self.shown = URL.parse(first).masked()
        scheme, _, rest = first.partition("://")
        self._url = f"{scheme.removeprefix('kombu+')}://{rest}"
        self._options = dict(options.get("broker_transport_options") or {})
        self._tls = options.get("broker_use_ssl")
        self._heartbeat = float(options.get("broker_heartbeat") or 0.0)

    def connection(self, timeout: float, *, reading: bool = False) -> Any:
        """A connection of kombu, not yet open."""
        make: Any = Connection
        try:
            connection = make(
                self._url,
                connect_timeout=timeout,
                ssl=self._tls or False,
                heartbeat=self._heartbeat if reading else 0,
            )
            driver = connection.transport_cls
        except (KeyError, ImportError, ValueError) as error:
            raise ConfigurationError(f"rpc:// cannot use the broker {self.shown}: {mask(str(error))}") from error
        options = dict(self._options)
        if driver in ("amqp", "pyamqp", "amqps"):
            options.setdefault("read_timeout", timeout)
            options.setdefault("write_timeout", timeout)
        elif driver.partition("+")[0] in ("redis", "rediss", "sentinel"):
            options.setdefault("socket_timeout", timeout)
            options.setdefault("socket_connect_timeout", timeout)
        connection.transport_options.update(options)
        return connection

    @contextmanager
    def errors(self, connection: Any) -> Iterator[None]:
        """Turn what kombu and its client libraries raise into ``OperationalError``."""
        foreign = (
            *connection.connection_errors,
            *connection.channel_errors,
            kombu.exceptions.OperationalError,
            OSError,
        )
        try:
            yield
        except TimeoutError:
            raise
        except foreign as error:
            reason = mask(str(error)) or type(error).__name__
            raise OperationalError(f"cannot reach or lost the broker {self.shown}: {reason}; is it running?") from error

    def release(self, connection: Any) -> None:
        """Close a connection; never raises."""
        try:
            with self.errors(connection):
                connection.release()
        except (OperationalError, TimeoutError):
            return
