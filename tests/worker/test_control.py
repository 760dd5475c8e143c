"""The step of remote control: its end never holds up the way back to the broker."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from umbel import Umbel
from umbel.worker.pidbox import Pidbox
from umbel.worker.steps.control import Control
from umbel_kernel.errors import OperationalError
from umbel_kernel.step import Context


class Stuck:
    """A broker that answers nothing until it is released."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.released = threading.Event()

    def connect(self) -> Any:
        self.asked.set()
        self.released.wait(20)
        raise OperationalError("it did not answer")


@pytest.fixture
def stuck() -> Iterator[Stuck]:
    made = Stuck()
    yield made
    made.released.set()


def test_after_a_lost_connection_nobody_waits_for_a_broker_that_does_not_answer(app: Umbel, stuck: Stuck) -> None:
    step = Control()
    step._box = Pidbox(stuck.connect, app.content, "w1@here", lambda method, arguments: None)
    step._box.start()
    assert stuck.asked.wait(5)
    before = time.monotonic()
    step.terminate(Context())
    assert time.monotonic() - before < 0.5


def test_its_thread_ends_by_itself_then(app: Umbel, stuck: Stuck) -> None:
    box = Pidbox(stuck.connect, app.content, "w1@here", lambda method, arguments: None)
    box.start()
    assert stuck.asked.wait(5)
    box.stop(wait=False)
    stuck.released.set()
    box._thread.join(timeout=5)
    assert not box._thread.is_alive()


def test_in_good_order_its_end_is_waited_for(app: Umbel) -> None:
    box = Pidbox(lambda: app.connections.connect(read=True), app.content, "w1@here", lambda method, arguments: None)
    box.start()
    box.stop()
    assert not box._thread.is_alive()
