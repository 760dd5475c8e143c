"""Where the Redis server is and how to open a connection to it."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any

from umbel_client_redis.connection import Connection
from umbel_client_redis.credentials import Credentials
from umbel_client_redis.truth import truth
from umbel_kernel.errors import ConfigurationError
from umbel_kernel.url import URL

ENCRYPTED = "umbel_client_redis.encrypted"
"""The module for TLS; imported only where TLS is asked for, since its library is large."""

_LOCAL = ("redis+socket", "redis+unix")
_SCHEMES = ("redis", "rediss", *_LOCAL)
_QUERY = frozenset(
    {"virtual_host", "db", "socket_connect_timeout", "socket_keepalive", "client_name", "credential_provider"}
)
# Arguments of redis-py that Celery lets stand in a URL; here they have nothing to act on.
_WITHOUT_EFFECT = frozenset(
    {"socket_timeout", "timeout", "max_connections", "retry_on_timeout", "retry_on_error", "health_check_interval"}
)


class Address:
    """A URL and what options say beside it, made into connections.

    ``redis://user:password@host:port/db``, ``rediss://`` for TLS, ``redis+socket:///path?virtual_host=db`` for a Unix
    socket. What the URL names goes before the options.

    Args:
        host, port, db, username, password: where the URL names none.
        client_name: what CLIENT LIST shows.
        connect_limit: seconds that connecting may take at most.
        keepalive: whether the connections send TCP keepalives.
        keepalive_options: numbers of TCP options and their values.
        credential_provider: who is asked for user and password of each connection, as for ``Credentials``; it goes
            before those of the URL, as in Celery.
        tls: true, or the TLS options of redis-py, whose names begin with ``ssl_``; the URL's query goes before them.

    Raises:
        ConfigurationError: the scheme, the database, a TLS option or a name in the query is wrong.
    """

    _schemes: tuple[str, ...] = _SCHEMES

    def __init__(
        self,
        url: URL,
        *,
        host: str | None = None,
        port: int | None = None,
        db: int | None = None,
        username: str | None = None,
        password: str | None = None,
        client_name: str | None = None,
        connect_limit: float | None = None,
        keepalive: bool = True,
        keepalive_options: Mapping[int, Any] | None = None,
        credential_provider: Any = None,
        tls: object = None,
    ) -> None:
        self.shown = url.masked()
        if url.scheme not in self._schemes:
            raise ConfigurationError(
                f"{self.shown}: Redis is reached by {', '.join(f'{each}://' for each in self._schemes)}"
            )
        self._check_query(url)
        query = url.query
        local = url.scheme in _LOCAL
        self.db = self._database(url, local, db)
        self._arguments: dict[str, Any] = {
            "db": self.db,
            "username": url.username or username,
            "password": url.password if url.password is not None else password,
            "client_name": query.get("client_name", client_name),
        }
        provider = query.get("credential_provider") or credential_provider
        self._credentials = Credentials(provider) if provider else None
        self._connect_limit = float(query.get("socket_connect_timeout") or connect_limit or 0) or None
        self._make: Callable[..., Connection] = Connection
        self.encrypted = False
        if local:
            if url.host or not url.path:
                raise ConfigurationError(f"{self.shown} needs three slashes and a path: redis+socket:///run/redis.sock")
            self._arguments["path"] = url.path
            return
        self._arguments["host"] = url.host or host or "127.0.0.1"
        self._arguments["port"] = url.port or port or 6379
        self._arguments["socket_keepalive"] = truth("socket_keepalive", query.get("socket_keepalive", keepalive))
        self._arguments["socket_keepalive_options"] = keepalive_options
        if tls or url.scheme == "rediss" or any(name.startswith("ssl_") for name in query):
            self.encrypted = True
            encrypted = importlib.import_module(ENCRYPTED)
            self._arguments["tls"] = encrypted.tls_arguments(url, tls if isinstance(tls, Mapping) else {})
            self._make = encrypted.EncryptedConnection

    @property
    def user(self) -> str:
        """Whose permissions hold."""
        return str(self._arguments["username"] or "default")

    def connection(self, timeout: float) -> Connection:
        """A connection, not yet open, each of whose steps may take ``timeout`` seconds.

        Raises:
            RedisError: the credential provider does not say who we are.
        """
        if self._credentials is not None:
            self._arguments["username"], self._arguments["password"] = self._credentials.ask()
        arguments = {key: value for key, value in self._arguments.items() if value is not None}
        arguments["socket_connect_timeout"] = min(timeout, self._connect_limit or timeout)
        return self._make(socket_timeout=timeout, **arguments)

    def open(self, timeout: float) -> Connection:
        """A connection that is open, within about ``timeout`` seconds.

        Raises:
            RedisError: there is none.
        """
        connection = self.connection(timeout)
        try:
            connection.connect()
        except BaseException:
            connection.disconnect()
            raise
        return connection

    def where(self, connection: Connection | None) -> str:
        """Where a connection leads, for people."""
        return self.shown

    def _check_query(self, url: URL) -> None:
        for name in url.query:
            if name not in _QUERY and name not in _WITHOUT_EFFECT and not name.startswith("ssl_"):
                raise ConfigurationError(
                    f"{self.shown} has an unknown option {name!r}; a URL of Redis may have "
                    f"{', '.join(sorted(_QUERY))} and the TLS options, whose names begin with ssl_"
                )

    def _database(self, url: URL, local: bool, db: int | None) -> int:
        named = {place for place in (url.query.get("virtual_host"), url.query.get("db")) if place}
        if not local and url.path.strip("/"):
            named.add(url.path.strip("/"))
        if len(named) > 1:
            raise ConfigurationError(f"{self.shown} names several databases: {', '.join(sorted(named))}")
        place = named.pop() if named else str(db or 0)
        if not (place.isascii() and place.isdigit()):
            raise ConfigurationError(f"{self.shown} names database {place!r}; in Redis it is a number, as in /0")
        return int(place)
