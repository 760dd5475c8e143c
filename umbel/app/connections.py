"""The broker and the backend of an app, one of each a process."""

from __future__ import annotations

import atexit
import itertools
import logging
import os
import random
import re
import sys
import threading
import time
import weakref
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from umbel.app.confirmer import Confirmer
from umbel.model.forking import importing, load
from umbel.wire.result_document import state_of
from umbel_kernel.errors import ConfigurationError, OperationalError, PluginError, PublishError, UmbelError
from umbel_kernel.spi.backend import Backend, BackendCapability
from umbel_kernel.spi.broker import Broker, BrokerCapability
from umbel_kernel.spi.message import Message
from umbel_kernel.url import URL

logger = logging.getLogger("umbel.app.connections")

EMBEDDED_URL = "sqlite:///umbel.db"
"""Broker and result backend of an app for which nothing was configured."""

_LEAST = 0.1
_BETWEEN_URLS = re.compile(r";(?=\s*[A-Za-z][\w+.-]*://)")


def split_urls(value: Any) -> list[URL]:
    """The URLs of a setting: one text, several with ``;`` between them, or a list."""
    texts = value.split(";") if isinstance(value, str) else list(value)
    return [URL.parse(text) for text in texts if text]


class Connections:
    """Makes and keeps this process's broker and backend.

    After a fork the child gets new ones. It keeps the parent's referenced and never touches them,
    because closing them in the child would close what the parent uses.

    Attributes:
        inside: the threads that are publishing or have something confirmed at this moment. One of them that is to
            publish is in a signal handler or a finalizer, and would wait for itself.
        ending: whether this process is about to end, so that what is posted from now on is looked after by nobody.
    """

    def __init__(self, app: Any) -> None:
        self._app = app
        self._make_locks()
        self._pid = os.getpid()
        self._broker: Broker | None = None
        self._backend: Backend | None = None
        self._inherited: list[Any] = []
        self._backlog: list[Message] = []
        self._answered: URL | None = None
        self.inside: set[int] = set()
        self.ending = False
        self._closes_with = 0
        self.confirmer = Confirmer(_Settle(self))
        atexit.register(_close, weakref.ref(self))

    def _make_locks(self) -> None:
        # Held for moments, never while the network is waited for: whoever publishes within a deadline takes it.
        self._lock = threading.RLock()
        self._connecting = threading.RLock()
        self._storing = threading.RLock()
        # Held while what was kept is sent again, by one thread: who closes waits for it and sees what is left.
        self._settling = threading.Lock()

    def _check_fork(self) -> None:
        if self._pid != os.getpid():
            self._make_locks()
            self._inherited += [self._broker, self._backend]
            self._broker = self._backend = None
            self._backlog = []
            self.inside = set()
            self.ending = False
            self.confirmer = Confirmer(_Settle(self))
            self._pid = os.getpid()

    def broker_urls(self, *, read: bool = False) -> list[URL]:
        """The URLs to try, best first, for consuming (``read``) or for publishing; those of one group are one."""
        conf = self._app.conf
        value = (conf.broker_read_url if read else conf.broker_write_url) or conf.broker_url
        urls = _group(split_urls(value or EMBEDDED_URL))
        strategy = conf.broker_failover_strategy
        if len(urls) > 1:
            if strategy == "shuffle":
                random.shuffle(urls)
            elif callable(strategy):
                # Celery's: it may go round for ever, so each is tried once.
                urls = split_urls(list(itertools.islice(strategy([url.raw for url in urls]), len(urls))))
            elif self._answered in urls:
                # Round-robin: one that is away would else be waited for at every connection.
                first = urls.index(self._answered)
                urls = urls[first:] + urls[:first]
        return urls

    def backend_url(self) -> URL | None:
        """Where results go; None when they are not kept."""
        conf = self._app.conf
        value = conf.result_backend
        if value is None:
            embedded = not (conf.broker_url or conf.broker_write_url or conf.broker_read_url)
            return URL.parse(EMBEDDED_URL) if embedded else None
        if not value or value in ("disabled", "disabled://"):
            return None
        urls = [URL.parse(text) for text in _BETWEEN_URLS.split(value)]
        if len(urls) == 1:
            return urls[0]
        if BackendCapability.GROUP_URL not in load("backends", urls[0].scheme).capabilities:
            raise ConfigurationError(
                f"result_backend names {len(urls)} URLs, {masked(urls)}; the backend {urls[0].scheme!r} takes one"
            )
        return replace(urls[0], raw=value)

    def new_broker(self, url: URL) -> Broker:
        """A broker that is not yet connected."""
        with importing:
            kind: type[Broker] = load("brokers", url.scheme)
            _import_codec()
            options = self._options("broker", kind, url.scheme, self._app.conf.broker_transport_options)
        # What a broker can do may depend on what its queues are.
        options["broker_queues"] = tuple(self._app.queues.values())
        return kind(url, options)

    def connect(self, *, read: bool = False, timeout: float | None = None, urls: Sequence[URL] | None = None) -> Broker:
        """A broker of one's own, connected: the first URL that answers, of these or of those configured.

        Raises:
            OperationalError: none does; the message is the last one's.
        """
        urls = urls or self.broker_urls(read=read)
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
                self._answered = url
                return broker
        if last is None:
            raise ConfigurationError("broker_url names no broker")
        raise last

    def broker(self, timeout: float | None = None) -> Broker:
        """This process's broker for publishing, connected.

        Args:
            timeout: seconds that connecting may take; by default ``broker_publish_timeout``.
        Raises:
            OperationalError: it cannot be reached.
        """
        if self._pid != os.getpid():
            self._check_fork()
        broker = self._broker
        return broker if broker is not None else self._connected(timeout)

    def _connected(self, timeout: float | None) -> Broker:
        end = time.monotonic() + (timeout or float(self._app.conf.broker_publish_timeout))
        if not self._connecting.acquire(timeout=max(0.0, end - time.monotonic())):
            raise OperationalError(
                f"{masked(self.broker_urls())} does not answer another thread of this process either"
            )
        try:
            broker = self._broker
            if broker is None:
                broker = self.connect(timeout=max(end - time.monotonic(), _LEAST))
                self._send_backlog(broker, max(end - time.monotonic(), _LEAST))
                self._broker = broker
                self._close_with_process()
            return broker
        finally:
            self._connecting.release()

    def _close_with_process(self) -> None:
        """In a process of multiprocessing, which ends without a look at atexit: have it close what it made."""
        if self._closes_with == os.getpid():
            return
        self._closes_with = os.getpid()
        for name in ("multiprocessing", "billiard"):
            process, util = sys.modules.get(f"{name}.process"), sys.modules.get(f"{name}.util")
            if process is not None and util is not None and process.current_process().name != "MainProcess":
                util.Finalize(None, _close, (weakref.ref(self),), exitpriority=0)

    def keep(self, messages: Sequence[Message]) -> None:
        """Keep messages that were posted, whose callers have gone on, and that a broker turned out not to have taken.

        They are the first that is published on the next connection.
        """
        with self._lock:
            self._backlog.extend(messages)

    def _send_backlog(self, broker: Broker, timeout: float) -> None:
        with self._lock:
            backlog, self._backlog = self._backlog, []
        if not backlog:
            return
        logger.warning("%d messages that were not confirmed are sent again", len(backlog))
        try:
            broker.publish(backlog, timeout=timeout)
        except OperationalError as error:
            failed = list(error.failed) if isinstance(error, PublishError) else backlog
            with self._lock:
                self._backlog = failed + self._backlog
            broker.close()
            raise
        except UmbelError as error:
            logger.error("%d messages are refused and lost: %s", len(backlog), error)

    def settle(self) -> bool:
        """Have confirmed what was posted, and send again what was not taken. Returns whether nothing is left."""
        me = threading.get_ident()
        if me in self.inside:
            return False
        if not self._settling.acquire(timeout=2 * float(self._app.conf.broker_publish_timeout)):
            return False
        try:
            self.inside.add(me)
            return self._settle()
        finally:
            self.inside.discard(me)
            self._settling.release()

    def _settle(self) -> bool:
        broker, timeout = self._broker, float(self._app.conf.broker_publish_timeout)
        try:
            if broker is not None:
                broker.flush(timeout=timeout)
            if not self._backlog:
                return True
        except UmbelError as error:
            logger.warning("not all messages are confirmed: %s", error)
            self.keep(error.failed if isinstance(error, PublishError) else ())
            self.drop_broker(broker)
            broker = None
        try:
            if broker is None:
                self.broker()
            else:
                self._send_backlog(broker, timeout)
        except UmbelError as error:
            logger.debug("messages cannot be sent again yet: %s", error)
            self.drop_broker(broker)
        return not self._backlog

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
            with self._storing:
                if self._backend is None:
                    self._backend = self._new_backend()
        return self._backend

    @property
    def current_backend(self) -> Backend | None:
        """The result backend that was made last, if it was not closed since."""
        return self._backend

    def _new_backend(self) -> Backend:
        url = self.backend_url()
        if url is None:
            raise ConfigurationError(
                "no result backend is configured; set result_backend, for example to 'redis://localhost:6379/0' or 'rpc://'"
            )
        with importing:
            kind: type[Backend] = load("backends", url.scheme)
            _import_codec()
            options = self._options("backend", kind, url.scheme, self._app.conf.result_backend_transport_options)
        options["broker_url"] = [url.raw for url in self.broker_urls()]
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
        own = self._pid == os.getpid()
        if own and not self.settle():
            logger.error("%d messages are lost", len(self._backlog))
        things = (self._broker, self._backend)
        self._broker = self._backend = None
        for thing in things if own else ():
            if thing is not None:
                thing.close()


class _Settle:
    """``Connections.settle`` for a thread that does not keep the connections alive."""

    def __init__(self, connections: Connections) -> None:
        self._connections = weakref.ref(connections)

    def __call__(self) -> bool:
        connections = self._connections()
        return connections is None or connections.settle()


def _import_codec() -> None:
    """The first look-up of a host's name imports this codec. Done here, no fork comes between."""
    "localhost".encode("idna")


def _group(urls: list[URL]) -> list[URL]:
    """One URL that stands for all where the broker says that several name one group, else the same."""
    if len(urls) > 1:
        try:
            kind: type[Broker] = load("brokers", urls[0].scheme)
        except PluginError:
            return urls  # whoever connects is told what is missing
        if BrokerCapability.GROUP_URL in kind.capabilities:
            return [replace(urls[0], raw=";".join(url.raw for url in urls))]
    return urls


def masked(urls: Sequence[URL]) -> str:
    """URLs for people, with every member of a group."""
    groups = [(url, _BETWEEN_URLS.split(url.raw)) for url in urls]
    each = [[URL.parse(part) for part in parts] if len(parts) > 1 else [url] for url, parts in groups]
    return ";".join(url.masked() for group in each for url in group)


def _close(connections: weakref.ref[Connections]) -> None:
    found = connections()
    if found is not None:
        found.ending = True
        found.close()
