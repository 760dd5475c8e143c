"""Fixtures for tests of the framework: apps on stores of their own, and workers in this process."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from umbel import Umbel
from umbel.model import current
from umbel.model.ids import uuid
from umbel.worker.options import WorkerOptions
from umbel.worker.worker import Worker


@pytest.fixture
def app() -> Iterator[Umbel]:
    """An app on a memory broker and backend that nobody else has."""
    name = uuid()
    made = Umbel("tests", broker=f"memory://{name}", backend=f"memory://{name}", set_as_current=False)
    before = current._default_app
    current.set_default_app(made)
    token = current._thread_app.set(made)
    yield made
    current._thread_app.reset(token)
    current.set_default_app(before)
    made.close()


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
