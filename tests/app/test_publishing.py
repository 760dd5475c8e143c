"""What becomes of messages when the broker fails: nothing that was posted is forgotten."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from umbel import Umbel
from umbel_broker_memory import MemoryBroker
from umbel_kernel.errors import OperationalError, PublishError
from umbel_kernel.spi.message import Message


class Forgetful(MemoryBroker):
    """Takes posts and finds out later that it did not: as a connection does that breaks before the confirmation."""

    broken = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.posted: list[Message] = []

    def post(self, messages: Sequence[Message], *, timeout: float = 5.0) -> None:
        self._fail(messages)
        self.posted.extend(messages)

    def publish(self, messages: Sequence[Message], *, timeout: float = 5.0) -> None:
        self._fail(messages)
        super().publish(messages, timeout=timeout)

    def flush(self, *, timeout: float = 5.0) -> None:
        self._fail(())

    def _fail(self, messages: Sequence[Message]) -> None:
        failed = [*self.posted, *messages]
        if type(self).broken and failed:
            self.posted = []
            raise PublishError("the connection broke", failed)


@pytest.fixture
def first(app: Umbel) -> Forgetful:
    """The broker of the app's first connection; those after it are sound."""
    Forgetful.broken = False
    broker = Forgetful(app.connections.broker_urls()[0])
    broker.connect(timeout=1)
    app.connections._broker = broker
    return broker


def _there(app: Umbel) -> list[str]:
    consumer = app.connections.broker().consumer([app.queues["celery"]])
    found = [delivery.headers["id"] for delivery in consumer.receive(100, 0.1)]
    consumer.close()
    return found


def test_posts_that_were_lost_go_out_with_the_next_call(app: Umbel, first: Forgetful) -> None:
    ids = [app.send_task("a.task").id for _ in range(3)]
    Forgetful.broken = True
    last = app.send_task("a.task").id
    assert sorted(_there(app)) == sorted([*ids, last])


def test_posts_that_were_lost_go_out_at_the_end(app: Umbel, first: Forgetful) -> None:
    ids = [app.send_task("a.task").id for _ in range(3)]
    Forgetful.broken = True
    app.close()
    assert sorted(_there(app)) == sorted(ids)


def test_a_call_without_retry_fails_alone(app: Umbel, first: Forgetful) -> None:
    ids = [app.send_task("a.task").id for _ in range(3)]
    Forgetful.broken = True
    with pytest.raises(OperationalError):
        app.send_task("a.task", retry=False)
    app.connections.drop_current_broker()
    assert sorted(_there(app)) == sorted(ids)


def test_a_batch_is_told_apart_from_posts_before_it(app: Umbel, first: Forgetful) -> None:
    ids = [app.send_task("a.task").id for _ in range(3)]
    Forgetful.broken = True
    batch = [result.id for result in app.send_many([("a.task", (), {}, {}) for _ in range(3)])]
    assert sorted(_there(app)) == sorted([*ids, *batch])
