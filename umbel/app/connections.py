"""The broker and the backend of an app, one of each a process."""

from __future__ import annotations

import atexit
import logging
import os
import random
import threading
import weakref
from collections.abc import Sequence
from typing import Any

from umbel.wire.result_document import state_of
from umbel_kernel import plugins
from umbel_kernel.errors import ConfigurationError, OperationalError, PublishError, UmbelError
from umbel_kernel.spi.backend import Backend
from umbel_kernel.spi.broker import Broker
from umbel_kernel.spi.message import Message
from umbel_kernel.url import URL

logger = logging.getLogger("umbel.app.connections")

EMBEDDED_URL = "sqlite:///umbel.db"
"""Broker and result backend of an app for which nothing was configured."""


def split_urls(value: Any) -> list[URL]:
    """The URLs of a setting: one text, several with ``;`` between them, or a list."""
    texts = value.split(";") if isinstance(value, str) else list(value)
    return [URL.parse(text) for text in texts if text]


class Connections:
    """Makes and keeps this process's broker and backend.

    After a fork the child gets new ones. It keeps the parent's referenced and never touches them,
    because closing them in the child would close what the parent uses.
    """

    def __init__(self, app: Any) -> None:
        self._app = app
        self._lock = threading.RLock()
        self._pid = os.getpid()
        self._broker: Broker | None = None
        self._backend: Backend | None = None
        self._inherited: list[Any] = []
        self._backlog: list[Message] = []
        atexit.register(_close, weakref.ref(self))

    def _check_fork(self) -> None:
        if self._pid != os.getpid():
            self._lock = threading.RLock()
            self._inherited += [self._broker, self._backend]
            self._broker = self._backend = None
            self._backlog = []
            self._pid = os.getpid()

    def broker_urls(self, *, read: bool = False) -> list[URL]:
        """The URLs to try, best first, for consuming (``read``) or for publishing."""
        conf = self._app.conf
        value = (conf.broker_read_url if read else conf.broker_write_url) or conf.broker_url
        urls = split_urls(value or EMBEDDED_URL)
        if len(urls) > 1 and conf.broker_failover_strategy == "shuffle":
            random.shuffle(urls)
        return urls

    def backend_url(self) -> URL | None:
        """Where results go; None when they are not kept."""
        conf = self._app.conf
        value = conf.result_backend
        if value is None:
            embedded = not (conf.broker_url or conf.broker_write_url or conf.broker_read_url)
            return URL.parse(EMBEDDED_URL) if embedded else None
        if not value or value == "disabled":
            return None
        return URL.parse(value)

    def new_broker(self, url: URL) -> Broker:
        """A broker that is not yet connected."""
        kind: type[Broker] = plugins.load("brokers", url.scheme)
        return kind(url, self._options("broker", kind, url.scheme, self._app.conf.broker_transport_options))

    def connect(self, *, read: bool = False, timeout: float | None = None) -> Broker:
        """A broker of one's own, connected: the first URL that answers.

        Raises:
            OperationalError: none does; the message is the last one's.
        """
        urls = self.broker_urls(read=read)
        wait = timeout if timeout is not None else float(self._app.conf.broker_connection_timeout or 4.0)
        last: OperationalError | None = None
        for url in urls:
            broker = self.new_broker(url)
            try:
                broker.connect(timeout=wait / len(urls))
            except OperationalError as error:
                broker.close()
                last = error
            else:
                return broker
        if last is None:
            raise ConfigurationError("broker_url names no broker")
        raise last

    def broker(self) -> Broker:
        """This process's broker for publishing, connected.

        Raises:
            OperationalError: it cannot be reached.
        """
        if self._pid != os.getpid():
            self._check_fork()
        if self._broker is None:
            with self._lock:
                if self._broker is None:
                    timeout = float(self._app.conf.broker_publish_timeout)
                    broker = self.connect(timeout=timeout)
                    self._send_backlog(broker, timeout)
                    self._broker = broker
        return self._broker

    def keep(self, messages: Sequence[Message]) -> None:
        """Keep messages that were posted, whose callers have gone on, and that a broker turned out not to have taken.

        They are the first that is published on the next connection.
        """
        with self._lock:
            self._backlog.extend(messages)

    def _send_backlog(self, broker: Broker, timeout: float) -> None:
        backlog, self._backlog = self._backlog, []
        if not backlog:
            return
        logger.warning("%d messages that were not confirmed are sent again", len(backlog))
        try:
            broker.publish(backlog, timeout=timeout)
        except OperationalError as error:
            self._backlog = list(error.failed) if isinstance(error, PublishError) else backlog
            broker.close()
            raise
        except UmbelError as error:
            logger.error("%d messages are refused and lost: %s", len(backlog), error)

    def drop_broker(self, broker: Broker | None) -> None:
        """Close a broker that has failed, so that the next publish makes a new one. None is passed over."""
        if broker is None:
            return
        with self._lock:
            if self._broker is broker:
                self._broker = None
        try:
            broker.flush(timeout=1.0)
        except PublishError as error:
            self.keep(error.failed)
        except UmbelError as error:
            logger.debug("while a failed broker was closed: %s", error)
        broker.close()

    def drop_current_broker(self) -> None:
        """Close this process's broker for publishing, if there is one."""
        self.drop_broker(self._broker)

    def backend(self) -> Backend:
        """This process's result backend, connected.

        Raises:
            OperationalError: it cannot be reached.
            ConfigurationError: none is configured.
        """
        if self._pid != os.getpid():
            self._check_fork()
        if self._backend is None:
            with self._lock:
                if self._backend is None:
                    self._backend = self._new_backend()
        return self._backend

    def _new_backend(self) -> Backend:
        url = self.backend_url()
        if url is None:
            raise ConfigurationError(
                "no result backend is configured; set result_backend, for example to 'redis://localhost:6379/0' or 'rpc://'"
            )
        kind: type[Backend] = plugins.load("backends", url.scheme)
        options = self._options("backend", kind, url.scheme, self._app.conf.result_backend_transport_options)
        options["broker_url"] = self.broker_urls()[0].raw
        options["result_expires"] = self._app.result_expires
        backend = kind(url, options, state_of=state_of(self._app.content))
        backend.connect(timeout=float(self._app.conf.broker_publish_timeout))
        return backend

    def _options(self, kind_name: str, kind: Any, name: str, transport_options: Any) -> dict[str, Any]:
        conf = self._app.conf
        conf.declare(kind.settings, f"{kind_name} {name!r}")
        options = {setting.name: conf[setting.name] for setting in kind.settings}
        options.update(transport_options or {})
        return options

    def close(self) -> None:
        """Close what this process made, when all that was published is confirmed."""
        with self._lock:
            if self._pid == os.getpid():
                self._flush()
                for thing in (self._broker, self._backend):
                    if thing is not None:
                        thing.close()
            self._broker = self._backend = None

    def _flush(self) -> None:
        broker = self._broker
        if broker is not None:
            try:
                broker.flush(timeout=float(self._app.conf.broker_publish_timeout))
            except UmbelError as error:
                logger.warning("not all messages are confirmed: %s", error)
                self.keep(error.failed if isinstance(error, PublishError) else ())
                self._broker = None
                broker.close()
        if self._backlog:
            try:
                self.broker()
            except UmbelError as error:
                logger.error("%d messages are lost: %s", len(self._backlog), error)


def masked(urls: Sequence[URL]) -> str:
    """URLs for people."""
    return ";".join(url.masked() for url in urls)


def _close(connections: weakref.ref[Connections]) -> None:
    found = connections()
    if found is not None:
        found.close()
