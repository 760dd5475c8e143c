"""Posts of a long burst: some are written together, and none waits for long."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from umbel_broker_amqp import AmqpBroker, gathered
from umbel_broker_amqp.gathered import Gathered
from umbel_broker_amqp.session import Session
from umbel_kernel.errors import PublishError
from umbel_kernel.spi.message import Message
from umbel_kernel.spi.topology import Queue
from umbel_testkit.taking import take


def until(holds: Callable[[], object]) -> None:
    end = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.002)


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many messages each write had; posts are amid a burst, in which no time passes."""
    found: list[int] = []

    def noted(session: Session, data: bytes, *args: Any, _write: Any = Session.write) -> None:
        found.append(data.count(b"\x00\x3c\x00\x28"))
        _write(session, data, *args)

    monkeypatch.setattr(Session, "write", noted)
    monkeypatch.setattr("umbel_broker_amqp.outlet._SUSTAINED", 0)
    monkeypatch.setattr("umbel_broker_amqp.outlet._CLOSE", float("inf"))
    monkeypatch.setattr(gathered, "_LONG", 60.0)
    return found


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread never looks."""
    monkeypatch.setattr(gathered, "SOON", 60.0)


def post(broker: AmqpBroker, queue: Queue, count: int, body: bytes = b"") -> None:
    for number in range(count):
        broker.post([Message(body or b"%d" % number, queue.name)])


@pytest.mark.usefixtures("slow")
def test_sixteen_are_written_at_once(direct: AmqpBroker, queue: Queue, written: list[int]) -> None:
    post(direct, queue, 50)
    assert written == [16, 16, 16]
    direct.flush()
    assert written == [16, 16, 16, 2]
    assert [int(each.body) for each in take(direct.consumer([queue]), 50)] == list(range(50))


@pytest.mark.usefixtures("slow")
def test_large_ones_do_not_wait(direct: AmqpBroker, queue: Queue, written: list[int]) -> None:
    post(direct, queue, 3, bytes(20_000))
    assert written == [2]
    direct.publish([Message(b"last", queue.name)])
    assert written == [2, 2]
    assert direct.size([queue.name]) == {queue.name: 4}


@pytest.mark.usefixtures("slow")
def test_nor_do_those_that_follow_after_a_pause(
    direct: AmqpBroker, queue: Queue, written: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As calls do of which each waits for the result of the one before."""
    post(direct, queue, 2)
    monkeypatch.setattr("umbel_broker_amqp.outlet._CLOSE", 0.0)
    post(direct, queue, 2)
    assert written == [3, 1]


def test_nor_do_those_after_which_none_comes(direct: AmqpBroker, queue: Queue, written: list[int]) -> None:
    for _ in range(3):
        written.clear()
        post(direct, queue, 5)
        until(lambda: sum(written) == 5)
    other = AmqpBroker(direct.url)
    until(lambda: other.size([queue.name]) == {queue.name: 15})
    other.close()


def test_the_thread_ends_and_comes_again(
    direct: AmqpBroker, queue: Queue, written: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gathered, "_PARKED", 0.05)
    post(direct, queue, 1)
    until(lambda: sum(written) == 1)
    until(lambda: direct._outlet._gathered._thread is None)
    post(direct, queue, 1)
    until(lambda: sum(written) == 2)


@pytest.mark.usefixtures("slow", "written")
def test_a_size_counts_what_was_posted(direct: AmqpBroker, queue: Queue) -> None:
    post(direct, queue, 7)
    assert direct.size([queue.name]) == {queue.name: 7}


@pytest.mark.usefixtures("slow", "written")
def test_closing_writes(direct: AmqpBroker, queue: Queue) -> None:
    other = AmqpBroker(direct.url)
    post(other, queue, 7)
    other.close()
    assert direct.size([queue.name]) == {queue.name: 7}


@pytest.mark.usefixtures("slow", "written")
def test_what_was_not_written_when_the_connection_ended_is_given_back(
    broker: AmqpBroker, direct: AmqpBroker, proxy: Any, queue: Queue
) -> None:
    sent = [Message(b"%d" % number, queue.name) for number in range(7)]
    for message in sent:
        broker.post([message])
    proxy.cut()
    with pytest.raises(PublishError) as caught:
        broker.flush()
    assert list(caught.value.failed) == sent
    broker.publish(sent)
    assert direct.size([queue.name]) == {queue.name: 7}


@pytest.mark.usefixtures("written")
def test_a_thread_that_cannot_write_leaves_it_to_the_next_call(broker: AmqpBroker, proxy: Any, queue: Queue) -> None:
    post(broker, queue, 1)
    broker.flush()
    proxy.cut()
    sent: list[Message] = []
    end = time.monotonic() + 20
    with pytest.raises(PublishError) as caught:
        while time.monotonic() < end:
            sent.append(Message(b"%d" % len(sent), queue.name))
            broker.post(sent[-1:])
            time.sleep(0.01)
    assert list(caught.value.failed) == sent


def test_where_no_thread_can_begin_each_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    kept = Gathered(lambda: None)
    for _ in range(3):
        assert kept.add(b"x")
    assert kept.take() == b"xxx" and not kept
