"""Fixtures for tests of the framework: apps on stores of their own, and workers in this process."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from umbel import Umbel
from umbel.model import current
from umbel.model.ids import uuid
from umbel.worker.options import WorkerOptions
from umbel.worker.worker import Worker


@pytest.fixture
def make_current() -> Iterator[Callable[[Umbel], Umbel]]:
    """``make_current(app)`` makes an app the current one until the test ends, which closes it."""
    with contextlib.ExitStack() as stack:
        yield lambda app: stack.enter_context(_current(app))


@contextlib.contextmanager
def _current(app: Umbel) -> Iterator[Umbel]:
    before = current._default_app
    current.set_default_app(app)
    token = current._thread_app.set(app)
    yield app
    current._thread_app.reset(token)
    current.set_default_app(before)
    app.close()


@pytest.fixture
def app(make_current: Callable[[Umbel], Umbel]) -> Umbel:
    """An app on a memory broker and backend that nobody else has."""
    name = uuid()
    return make_current(Umbel("tests", broker=f"memory://{name}", backend=f"memory://{name}", set_as_current=False))


@pytest.fixture
def urls_of(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], tuple[str, str]]:
    """``urls_of("redis")`` is a broker and a store of that kind: ``memory``, ``redis``, ``sqlite`` or ``rpc``.

    The broker is in this process wherever results do not come over it.
    """

    def urls(kind: str) -> tuple[str, str]:
        own = f"memory://{uuid()}"
        if kind == "redis":
            return own, request.getfixturevalue("redis_url")
        if kind == "sqlite":
            return own, f"sqlite:///{tmp_path}/results.db"
        return (request.getfixturevalue("amqp_url"), "rpc://") if kind == "rpc" else (own, own)

    return urls


@pytest.fixture(scope="session")
def claim_redis(redis_url: str) -> Callable[[str], contextlib.AbstractContextManager[redis.Redis]]:
    """``with claim_redis("me") as client:`` has a database that was empty, with a key of that name; it is emptied in
    the end."""

    @contextlib.contextmanager
    def claim(name: str) -> Iterator[redis.Redis]:
        base = redis_url.rsplit("/", 1)[0]
        for number in range(15, 9, -1):
            client = redis.Redis.from_url(f"{base}/{number}")
            if not client.dbsize() and client.set(name, f"{base}/{number}", nx=True, ex=600):
                break
            client.close()
        else:
            pytest.fail("the Redis databases 10 to 15 are all in use; this test needs an empty one")
        yield client
        client.flushdb()
        client.close()

    return claim


@pytest.fixture
def running() -> Iterator[Callable[..., Any]]:
    """``with running(app, pool="threads"):`` runs a worker of the app in a thread; all are ended at the test's end."""
    with contextlib.ExitStack() as stack:
        yield lambda app, **options: stack.enter_context(_running(app, options))


@contextlib.contextmanager
def _running(app: Umbel, options: dict[str, Any]) -> Iterator[Worker]:
    options = {
        "pool": "threads",
        "concurrency": 2,
        "loglevel": "ERROR",
        "quiet": True,
        "install_signals": False,
        **options,
    }
    app.log.already_setup = True
    worker = Worker(app, WorkerOptions(**options))
    failed: list[BaseException] = []

    def run() -> None:
        try:
            worker.start()
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run, name="test-worker")
    thread.start()
    end = time.monotonic() + 10
    while not worker._ready_told and thread.is_alive() and time.monotonic() < end:
        time.sleep(0.002)
    try:
        assert worker._ready_told, f"the worker did not get ready: {failed}"
        yield worker
    finally:
        worker.stop()
        thread.join(timeout=20)
        assert not thread.is_alive(), "the worker did not end"
        assert not failed, failed
