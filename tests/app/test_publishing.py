"""What becomes of messages when the broker fails: nothing that was posted is forgotten."""

from __future__ import annotations

import time
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


@pytest.mark.parametrize("errors", [None, (PublishError,), [ValueError, OperationalError], OperationalError])
def test_a_call_is_repeated_after_the_errors_that_its_policy_names(app: Umbel, first: Forgetful, errors: Any) -> None:
    Forgetful.broken = True
    sent = app.send_task("a.task", retry_policy={"retry_errors": errors}).id
    assert _there(app) == [sent]


def test_a_call_is_not_repeated_after_other_errors(app: Umbel, first: Forgetful) -> None:
    Forgetful.broken = True
    with pytest.raises(PublishError):
        app.send_task("a.task", retry_policy={"retry_errors": (TimeoutError,)})
    assert app.connections._broker is first


def test_a_batch_is_told_apart_from_posts_before_it(app: Umbel, first: Forgetful) -> None:
    ids = [app.send_task("a.task").id for _ in range(3)]
    Forgetful.broken = True
    batch = [result.id for result in app.send_many([("a.task", (), {}, {}) for _ in range(3)])]
    assert sorted(_there(app)) == sorted([*ids, *batch])


class Silent(Forgetful):
    """Answers nothing, as behind a network that swallows everything: each call lasts as long as it may."""

    def post(self, messages: Sequence[Message], *, timeout: float = 5.0) -> None:
        time.sleep(timeout)
        raise PublishError("no answer", list(messages))


@pytest.fixture
def stale(app: Umbel) -> Silent:
    """The broker of the app's first connection, which has gone stale; a call may take a second."""
    app.conf.broker_publish_timeout = 1.0
    Forgetful.broken = False
    broker = Silent(app.connections.broker_urls()[0])
    broker.connect(timeout=1)
    app.connections._broker = broker
    return broker


def test_a_stale_connection_is_replaced_within_the_deadline(app: Umbel, stale: Silent) -> None:
    began = time.monotonic()
    sent = app.send_task("a.task").id
    assert time.monotonic() - began < 0.9
    assert _there(app) == [sent]


def test_a_call_ends_within_its_deadline_though_nobody_answers(
    app: Umbel, stale: Silent, monkeypatch: pytest.MonkeyPatch
) -> None:
    def connect(*, read: bool = False, timeout: float | None = None) -> Any:
        time.sleep(timeout or 1.0)
        raise OperationalError("no answer either")

    monkeypatch.setattr(app.connections, "connect", connect)
    began = time.monotonic()
    with pytest.raises(OperationalError):
        app.send_task("a.task")
    assert 0.9 < time.monotonic() - began < 1.3
