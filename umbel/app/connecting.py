"""Connections to the broker as programs for Celery ask an app for them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from umbel.model.later import Later
from umbel_kernel.errors import ChannelError, OperationalError

if TYPE_CHECKING:
    from umbel.app import connections as ways
    from umbel.app.connections import Connections
    from umbel_kernel.spi.broker import Broker
else:
    ways = Later("umbel.app.connections")


class Connection:
    """A way to the broker, connected when it is first needed. A context manager that releases it.

    An app publishes on a connection of its own that is kept, so tasks need none of these; a program asks for one to
    find out whether the broker is there.

    Args:
        connections: the app's.
        read: whether to connect as a consumer does, by ``broker_read_url``.
        shared: whether it stands for the app's own connection, which stays when this is released.
        url: where to connect to, if not where the configuration says.
    """

    connection_errors = recoverable_connection_errors = (OperationalError,)
    channel_errors = recoverable_channel_errors = (ChannelError,)

    def __init__(
        self, connections: Connections, *, read: bool = False, shared: bool = False, url: str | None = None
    ) -> None:
        self._connections = connections
        self._urls = ways.split_urls(url) if url else None
        self._read = read
        self._shared = shared
        self._broker: Broker | None = None

    @property
    def connected(self) -> bool:
        """Whether it was connected and not released since."""
        return self._broker is not None

    def as_uri(self, include_password: bool = False, mask: str = "**") -> str:
        """The URLs, by default without their passwords."""
        urls = self._urls or self._connections.broker_urls(read=self._read)
        return ";".join(url.raw for url in urls) if include_password else ways.masked(urls)

    def connect(self, timeout: float | None = None) -> Connection:
        """Connect, unless it is connected.

        Args:
            timeout: seconds; by default ``broker_connection_timeout``.
        Raises:
            OperationalError: the broker cannot be reached.
        """
        if self._broker is None:
            if self._shared:
                self._broker = self._connections.broker(timeout)
            else:
                self._broker = self._connections.connect(read=self._read, timeout=timeout, urls=self._urls)
        return self

    def ensure_connection(
        self,
        errback: Callable[[Exception, float], Any] | None = None,
        max_retries: int | None = None,
        interval_start: float = 2,
        interval_step: float = 2,
        interval_max: float = 30,
        callback: Callable[[], Any] | None = None,
        reraise_as_library_errors: bool = True,
        timeout: float | None = None,
    ) -> Connection:
        """Connect, trying again after pauses that grow.

        Args:
            errback: called with the error and the seconds until the next try.
            max_retries: tries after the first; None: without end.
            interval_start, interval_step, interval_max: seconds of the first pause, by how much each is longer than
                the one before, and of the longest.
            callback: called before each pause.
            reraise_as_library_errors: accepted; all errors are umbel's.
            timeout: seconds for all of it.
        Raises:
            OperationalError: the last try's.
        """
        end = None if timeout is None else time.monotonic() + timeout
        tried, pause = 0, float(interval_start)
        while True:
            try:
                return self.connect(None if end is None else max(end - time.monotonic(), 0.1))
            except OperationalError as error:
                if max_retries is not None and tried >= max_retries:
                    raise
                if end is not None and time.monotonic() + pause >= end:
                    raise
                if errback is not None:
                    errback(error, pause)
            if callback is not None:
                callback()
            time.sleep(pause)
            tried, pause = tried + 1, min(pause + interval_step, interval_max)

    def release(self) -> None:
        """Close it; one that is shared stays with the app."""
        broker, self._broker = self._broker, None
        if broker is not None and not self._shared:
            broker.close()

    close = release

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *error: object) -> None:
        self.release()

    def __repr__(self) -> str:
        return f"<Connection: {self.as_uri()}>"


class Producer:
    """What ``apply_async(producer=...)`` takes: it stands for the app's own way to publish, which every call uses."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def release(self) -> None:
        """Nothing to do: the connection is the app's."""

    close = release

    def __enter__(self) -> Producer:
        return self

    def __exit__(self, *error: object) -> None:
        self.release()


class Pool:
    """Hands out what stands for the app's one connection, to as many as ask.

    Args:
        make: what is handed out.
    """

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make

    def acquire(self, block: bool = False, timeout: float | None = None) -> Any:
        """A context manager; nobody is ever waited for."""
        return self._make()


class Connecting:
    """The part of an app that hands out connections. Options of kombu's connections are accepted and without effect:
    the settings hold."""

    connections: Connections

    def connection_for_read(self, url: str | None = None, **_: Any) -> Connection:
        """A new connection as workers make it, or to another URL."""
        return Connection(self.connections, read=True, url=url)

    def connection_for_write(self, url: str | None = None, **_: Any) -> Connection:
        """A new connection as publishers make it, or to another URL."""
        return Connection(self.connections, url=url)

    def connection(self, url: str | None = None, **_: Any) -> Connection:
        """See ``connection_for_write``."""
        return self.connection_for_write(url)

    broker_connection = connection

    @contextmanager
    def connection_or_acquire(self, connection: Any = None, pool: bool = True, *_: Any, **__: Any) -> Iterator[Any]:
        """The connection that is given, else the app's own, or with ``pool`` False a new one."""
        if connection is not None:
            yield connection
        else:
            with self.pool.acquire() if pool else self.connection_for_write() as found:
                yield found

    default_connection = connection_or_acquire

    @contextmanager
    def producer_or_acquire(self, producer: Any = None) -> Iterator[Any]:
        """The producer that is given, else the app's."""
        if producer is not None:
            yield producer
        else:
            with self.producer_pool.acquire(block=True) as found:
                yield found

    default_producer = producer_or_acquire

    @property
    def pool(self) -> Pool:
        """Hands out the app's own connection."""
        return Pool(lambda: Connection(self.connections, shared=True))

    @property
    def producer_pool(self) -> Pool:
        """Hands out producers on the app's own connection."""
        return Pool(lambda: Producer(Connection(self.connections, shared=True)))
