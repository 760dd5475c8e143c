"""The broker that carries the replies, reached through kombu."""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import kombu.exceptions
from kombu.connection import Connection

from umbel_kernel.errors import ConfigurationError, OperationalError
from umbel_kernel.url import URL, mask

_AMQP = ("amqp", "pyamqp", "amqps")
_BEAT = 5.0
_NO_CHECK = ("none", "cert_none")


class Link:
    """Makes connections to the broker, or the brokers, named by the option ``broker_url``.

    Raises:
        ConfigurationError: there is no such option.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        given = options.get("broker_url")
        texts = given.split(";") if isinstance(given, str) else list(given or ())
        self._urls = [URL.parse(text) for text in texts if text]
        if not self._urls:
            raise ConfigurationError("the rpc backend sends results through the broker and needs the option broker_url")
        self.shown = ";".join(url.masked() for url in self._urls)
        self._options = dict(options.get("broker_transport_options") or {})
        self._tls = options.get("broker_use_ssl")
        self._heartbeat = float(options.get("broker_heartbeat") or 0.0)

    def connect(self, timeout: float, *, reading: bool = False) -> Any:
        """A connection of kombu to the first broker that answers.

        Args:
            timeout: seconds for all of them together.
            reading: it is one that waits, so a silent server is to be noticed by heartbeats within 15 seconds.

        Raises:
            OperationalError: none answers; the message is the last one's.
            ConfigurationError: kombu knows no such transport.
        """
        last: OperationalError | None = None
        for url in self._urls:
            connection = self._connection(url, timeout / len(self._urls), reading)
            try:
                with self.errors(connection):
                    connection.connect()
                return connection
            except TimeoutError as error:
                last = OperationalError(f"the broker {url.masked()} did not answer within {timeout:g} s")
                last.__cause__ = error
            except OperationalError as error:
                last = error
            self.abandon(connection)
        raise last or OperationalError(f"no broker answers: {self.shown}")

    @staticmethod
    def is_amqp(connection: Any) -> bool:
        """Whether it speaks AMQP itself, with confirms, acknowledgements and heartbeats."""
        return bool(connection.transport.driver_type == "amqp")

    def _connection(self, url: URL, timeout: float, reading: bool) -> Any:
        make: Any = Connection
        scheme, _, rest = url.raw.partition("://")
        try:
            connection = make(
                f"{scheme.removeprefix('kombu+')}://{rest}",
                connect_timeout=timeout,
                ssl=self._secured(url),
                heartbeat=min(self._heartbeat, _BEAT) if reading else 0,
            )
            driver = connection.transport_cls
        except (KeyError, ImportError, ValueError) as error:
            raise ConfigurationError(f"rpc:// cannot use the broker {url.masked()}: {mask(str(error))}") from error
        options = dict(self._options)
        if driver in _AMQP:
            options.setdefault("read_timeout", timeout)
            options.setdefault("write_timeout", timeout)
        elif driver.partition("+")[0] in ("redis", "rediss", "sentinel"):
            options.setdefault("socket_timeout", timeout)
            options.setdefault("socket_connect_timeout", timeout)
        connection.transport_options.update(options)
        return connection

    def _secured(self, url: URL) -> Any:
        """What kombu is told about TLS: on AMQP the server's name is checked wherever its certificate is."""
        if url.scheme not in _AMQP or not (self._tls or url.scheme == "amqps"):
            return self._tls or False
        tls = dict(self._tls) if isinstance(self._tls, Mapping) else {}
        check = tls.get("cert_reqs")
        if isinstance(check, str):
            none = check.lower() in _NO_CHECK
            tls["cert_reqs"] = check = ssl.CERT_NONE if none else ssl.VerifyMode[_name(check)]
        if "context" not in tls and check != ssl.CERT_NONE:
            tls.setdefault("server_hostname", url.host or "127.0.0.1")
        return tls or True

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

    def abandon(self, connection: Any) -> None:
        """Drop a connection that is lost, without waiting for an answer to that; never raises."""
        with suppress(*connection.connection_errors, *connection.channel_errors, OSError, AttributeError):
            connection.collect(0.5)


def _name(check: str) -> str:
    return f"CERT_{check.upper().removeprefix('CERT_')}"
