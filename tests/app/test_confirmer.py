"""Messages that were posted last are looked after, though no further call comes."""

from __future__ import annotations

import gc
import os
import threading
import time
import weakref
from collections.abc import Sequence
from typing import Any

import pytest

from umbel import Umbel
from umbel.app.confirmer import Confirmer
from umbel_broker_memory import MemoryBroker
from umbel_kernel.errors import OperationalError, PublishError
from umbel_kernel.spi.message import Message
from umbel_testkit.waiting import eventually


def _confirmers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "umbel-confirmer"]


def test_it_looks_once_when_it_has_become_quiet() -> None:
    looks: list[float] = []

    def settle() -> bool:
        looks.append(time.monotonic())
        return True

    confirmer = Confirmer(settle, quiet=0.1)
    end = time.monotonic() + 0.4
    while (last := time.monotonic()) < end:
        confirmer.wake()
        time.sleep(0.005)
    eventually(lambda: bool(looks), within=2, what="a look")
    time.sleep(0.3)
    assert len(looks) == 1
    assert looks[0] - last > 0.05


def test_it_looks_again_until_nothing_is_left_and_after_each_burst() -> None:
    answers = [False, False, True, True]
    looks: list[bool] = []

    def settle() -> bool:
        looks.append(answers[len(looks)])
        return looks[-1]

    confirmer = Confirmer(settle, quiet=0.01)
    confirmer.wake()
    eventually(lambda: len(looks) == 3, within=2, what="a look")
    time.sleep(0.1)
    assert len(looks) == 3
    confirmer.wake()
    eventually(lambda: len(looks) == 4, within=2, what="a look")


def test_what_is_posted_while_it_looks_is_looked_after() -> None:
    looks: list[int] = []

    def settle() -> bool:
        looks.append(len(looks))
        if len(looks) == 1:
            confirmer.wake()
        return True

    confirmer = Confirmer(settle, quiet=0.01)
    confirmer.wake()
    eventually(lambda: len(looks) == 2, within=2, what="a look")


def test_whatever_is_raised_it_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    looks: list[int] = []

    def settle() -> bool:
        looks.append(len(looks))
        if len(looks) == 1:
            raise AttributeError("nobody thought of this")
        return True

    confirmer = Confirmer(settle, quiet=0.01)
    confirmer.wake()
    eventually(lambda: len(looks) == 2, within=2, what="a look")
    assert "nobody thought of this" in caplog.text


class Forgetful(MemoryBroker):
    """Takes posts, and finds out when it is asked that the connection had broken."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.posted: list[Message] = []

    @property
    def waiting(self) -> bool:
        return bool(self.posted)

    def post(self, messages: Sequence[Message], *, timeout: float = 5.0) -> None:
        self.posted.extend(messages)

    def flush(self, *, timeout: float = 5.0) -> None:
        failed, self.posted = self.posted, []
        if failed:
            raise PublishError("the connection broke", failed)


@pytest.fixture
def first(app: Umbel) -> Forgetful:
    """The broker of the app's first connection; those after it are sound."""
    broker = Forgetful(app.connections.broker_urls()[0])
    broker.connect(timeout=1)
    app.connections._broker = broker
    return broker


def _there(app: Umbel) -> int:
    broker = MemoryBroker(app.connections.broker_urls()[0])
    broker.connect(timeout=1)
    return broker.size(["celery"])["celery"]


def test_posts_that_were_lost_go_out_without_a_further_call(app: Umbel, first: Forgetful) -> None:
    for _ in range(3):
        app.send_task("a.task")
    eventually(lambda: _there(app) == 3, within=3, what="the messages")
    assert app.connections._broker is not first


def test_it_goes_on_until_the_broker_is_back(app: Umbel, first: Forgetful, monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[float] = []
    sound = app.connections.connect

    def connect(**options: Any) -> Any:
        tries.append(time.monotonic())
        if len(tries) < 3:
            raise OperationalError("not yet")
        return sound(**options)

    monkeypatch.setattr(app.connections, "connect", connect)
    app.send_task("a.task")
    eventually(lambda: _there(app) == 1, within=5, what="the messages")
    assert len(tries) == 3


def test_a_broker_that_confirms_at_once_needs_no_thread(app: Umbel) -> None:
    before = len(_confirmers())
    for _ in range(10):
        app.send_task("a.task")
    assert len(_confirmers()) == before


def test_the_thread_does_not_keep_what_it_looks_after() -> None:
    app = Umbel("gone", broker="memory://gone", set_as_current=False)
    connections = weakref.ref(app.connections)
    app.connections.confirmer.wake()
    # An app is kept by what it registers with the interpreter; its connections are not kept by the thread.
    app.connections = None  # type: ignore[assignment]
    eventually(lambda: gc.collect() >= 0 and connections() is None, within=2, what="the end of the connections")
    assert all(thread.daemon for thread in _confirmers())


def test_a_child_has_one_of_its_own(app: Umbel, first: Forgetful) -> None:
    app.send_task("a.task")
    parents = app.connections.confirmer
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        app.connections.broker()
        os.write(write, b"%d" % (app.connections.confirmer is not parents and not _confirmers()))
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(read, 10) == b"1"
    os.close(read)
    os.close(write)
