"""An app on the backend that a test asks for, and a way to let a task end there."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from umbel.app.app import Umbel
from umbel.model.ids import uuid
from umbel.model.request import Context


@pytest.fixture
def app(request: pytest.FixtureRequest, urls_of: Callable[[str], tuple[str, str]]) -> Iterator[Any]:
    """An app over the in-process broker and backend, or with ``indirect`` parameters over another one."""
    kind = getattr(request, "param", "memory")
    name = uuid()
    broker, backend = urls_of(kind)
    app = Umbel("results", broker=broker, backend=backend, set_as_current=True)
    app.conf.result_expires = 120
    if kind == "redis":
        app.conf.result_backend_transport_options = {"global_keyprefix": f"{name}."}
    app.load_backend().expect([])
    yield app
    app.close()


@pytest.fixture
def done(app: Any) -> Iterator[Callable[..., None]]:
    """``done("id", 5)`` keeps an outcome, or a progress, as the worker that runs the task does.

    With ``after`` it does so in a thread, so many seconds later.
    """
    threads: list[threading.Timer] = []

    def store(task_id: str, value: Any, state: str, request: Any, **more: Any) -> None:
        request = request or Context(id=task_id)
        request.reply_to = app.reply_to
        app.backend.store_result(task_id, value, state, request=request, **more)

    def done(
        task_id: str, value: Any = None, state: str = "SUCCESS", *, after: float = 0, request: Any = None, **more: Any
    ) -> None:
        if after:
            threads.append(threading.Timer(after, store, (task_id, value, state, request), more))
            threads[-1].start()
            return
        known = app.backend.get_state(task_id)
        store(task_id, value, state, request, **more)
        # Where results travel it takes a moment.
        end = time.monotonic() + 10
        while app.has_reply_to and known != "SUCCESS" and app.backend.get_document(task_id, False).status != state:
            assert time.monotonic() < end, f"{task_id} did not arrive"
            time.sleep(0.002)

    yield done
    for thread in threads:
        thread.join(20)
