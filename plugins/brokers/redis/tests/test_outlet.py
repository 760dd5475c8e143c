"""Messages that come in quick succession: posted without waiting, none forgotten."""

from __future__ import annotations

import signal
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from umbel_broker_redis import RedisBroker, outlet
from umbel_broker_redis.envelope import unpack
from umbel_kernel.errors import OperationalError, PublishError
from umbel_kernel.spi.message import Message
from umbel_kernel.spi.topology import Queue
from umbel_kernel.url import URL


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every message after the first counts as one in quick succession, however busy this machine is."""
    monkeypatch.setattr(outlet, "_BURST", 60.0)
    monkeypatch.setattr(outlet, "_SUSTAINED", 0)


@pytest.fixture
def broker(redis_server: Any) -> Iterator[RedisBroker]:
    found = RedisBroker(URL.parse(redis_server.url))
    found.connect(timeout=2)
    yield found
    found.close()


def _messages(queue: str, *numbers: int) -> list[Message]:
    return [Message(str(number).encode(), queue) for number in numbers]


def _bodies(redis_server: Any, queue: str) -> list[int]:
    with redis.Redis(port=redis_server.port) as client:
        raws: list[bytes] = client.lrange(queue, 0, -1)
    return [int(unpack(raw, queue, None).body) for raw in reversed(raws)]


def _burst(broker: RedisBroker, queue: str) -> None:
    """Begin a succession of messages."""
    for message in _messages(queue, *range(10)):
        broker.post([message], timeout=2)


@pytest.fixture
def queue() -> str:
    return f"outlet-{uuid.uuid4().hex}"


@pytest.mark.usefixtures("always")
def test_a_burst_arrives_whole_and_in_order(broker: RedisBroker, redis_server: Any, queue: str) -> None:
    for message in _messages(queue, *range(2000)):
        broker.post([message])
    broker.flush()
    assert not broker.waiting
    assert _bodies(redis_server, queue) == list(range(2000))


@pytest.mark.usefixtures("always")
def test_few_are_ever_unconfirmed(broker: RedisBroker, queue: str) -> None:
    most = 0
    for message in _messages(queue, *range(3000)):
        broker.post([message])
        most = max(most, len(broker._outlet._waiting))
    assert 0 < most <= 128


def test_what_comes_alone_waits_for_its_reply(broker: RedisBroker, queue: str) -> None:
    for message in _messages(queue, *range(5)):
        time.sleep(0.01)
        broker.post([message])
        assert not broker.waiting


def test_only_a_long_burst_goes_on_without_waiting(
    broker: RedisBroker, queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outlet, "_BURST", 60.0)
    waited = [not (broker.post([message]), broker.waiting)[1] for message in _messages(queue, *range(150))]
    assert all(waited[:100])
    assert not all(waited[100:])


def test_confirm_publish_waits_for_each(redis_server: Any, queue: str) -> None:
    broker = RedisBroker(URL.parse(redis_server.url), {"confirm_publish": True})
    for message in _messages(queue, *range(50)):
        broker.post([message])
        assert not broker.waiting
    broker.close()
    assert _bodies(redis_server, queue) == list(range(50))


def test_what_is_large_waits(broker: RedisBroker, redis_server: Any, queue: str) -> None:
    for _ in range(20):
        broker.post([Message(b"1" * 50_000, queue)])
        assert not broker.waiting


def test_everything_else_sees_what_was_posted(broker: RedisBroker, queue: str) -> None:
    posted = 0
    for _ in range(20):
        for message in _messages(queue, *range(30)):
            broker.post([message])
            posted += 1
        assert broker.size([queue]) == {queue: posted}
    assert broker.purge([queue]) == posted


@pytest.mark.usefixtures("always")
def test_a_refusal_is_told_by_a_later_call(broker: RedisBroker, redis_server: Any, queue: str) -> None:
    _burst(broker, queue)
    broker.flush()
    with redis.Redis(port=redis_server.port) as client:
        client.delete(queue)
        client.set(queue, "no list")
    failed: list[Message] = []
    posted: list[Message] = []
    for message in _messages(queue, *range(300)):
        posted.append(message)
        try:
            broker.post([message])
        except PublishError as error:
            failed += error.failed
    try:
        broker.flush()
    except PublishError as error:
        failed += error.failed
    assert list(map(id, failed)) == list(map(id, posted))


@pytest.mark.usefixtures("always")
def test_a_server_that_is_full_takes_them_when_it_has_room(broker: RedisBroker, redis_server: Any, queue: str) -> None:
    with redis.Redis(port=redis_server.port) as client:
        client.config_set("maxmemory", "1")
        failed: list[Message] = []
        for message in _messages(queue, *range(100)):
            try:
                broker.post([message])
            except OperationalError as error:
                assert isinstance(error, PublishError)
                failed += error.failed
        try:
            broker.flush()
        except PublishError as error:
            failed += error.failed
        client.config_set("maxmemory", "0")
    broker.publish(failed)
    assert _bodies(redis_server, queue) == list(range(100))


@pytest.mark.usefixtures("always")
def test_a_lost_server_gives_back_all_that_is_unconfirmed(broker: RedisBroker, redis_server: Any, queue: str) -> None:
    _burst(broker, queue)
    assert redis_server.process is not None
    redis_server.process.send_signal(signal.SIGSTOP)
    for message in _messages(queue, *range(20)):
        broker.post([message], timeout=1)
    unconfirmed = list(broker._outlet._waiting)
    assert len(unconfirmed) >= 20
    redis_server.stop()
    [new] = _messages(queue, 20)
    with pytest.raises(PublishError) as caught:
        broker.publish([new], timeout=1)
    failed = list(caught.value.failed)
    # The replies to some may have come before the server was stopped.
    assert list(map(id, failed)) == list(map(id, [*unconfirmed, new][-len(failed) :]))
    assert len(failed) > 20
    redis_server.start()
    broker.publish(failed)
    assert _bodies(redis_server, queue)[-21:] == list(range(21))


@pytest.mark.usefixtures("always")
def test_a_silent_server_ends_a_burst_in_time(broker: RedisBroker, redis_server: Any, queue: str) -> None:
    _burst(broker, queue)
    assert redis_server.process is not None
    redis_server.process.send_signal(signal.SIGSTOP)
    started = time.monotonic()
    try:
        with pytest.raises(PublishError) as caught:
            for message in _messages(queue, *range(2000)):
                broker.post([message], timeout=0.5)
        assert time.monotonic() - started < 2
        assert len(caught.value.failed) >= 100
        assert not broker.waiting
    finally:
        redis_server.process.send_signal(signal.SIGCONT)


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("call", ["post", "publish", "size"])
def test_a_thread_that_waits_for_a_silent_server_keeps_no_other_from_its_deadline(
    broker: RedisBroker, redis_server: Any, queue: str, call: str
) -> None:
    _burst(broker, queue)
    assert redis_server.process is not None
    redis_server.process.send_signal(signal.SIGSTOP)

    def wait() -> None:
        with pytest.raises(OperationalError):
            broker.publish(_messages(queue, 1), timeout=2)

    first = threading.Thread(target=wait)
    first.start()
    try:
        time.sleep(0.2)
        started = time.monotonic()
        arguments = {"post": (_messages(queue, 2),), "publish": (_messages(queue, 2),), "size": ([queue],)}
        with pytest.raises(OperationalError):
            getattr(broker, call)(*arguments[call], timeout=0.5)
        assert time.monotonic() - started < 1.2
    finally:
        first.join()
        redis_server.process.send_signal(signal.SIGCONT)


def test_an_idle_connection_that_was_closed_is_made_anew(broker: RedisBroker, redis_server: Any, queue: str) -> None:
    for message in _messages(queue, *range(10)):
        broker.post([message])
    broker.flush()
    with redis.Redis(port=redis_server.port) as client:
        client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    for message in _messages(queue, *range(10, 20)):
        broker.post([message])
    broker.flush()
    assert _bodies(redis_server, queue) == list(range(20))


def test_closing_waits_for_what_was_posted(redis_server: Any, queue: str) -> None:
    broker = RedisBroker(URL.parse(redis_server.url))
    for message in _messages(queue, *range(500)):
        broker.post([message])
    broker.close()
    assert _bodies(redis_server, queue) == list(range(500))


def test_several_threads_post_and_ask_at_once(broker: RedisBroker, redis_server: Any, queue: str) -> None:
    errors: list[BaseException] = []

    def post(first: int) -> None:
        try:
            for message in _messages(queue, *range(first, first + 300)):
                broker.post([message])
        except BaseException as error:
            errors.append(error)

    def ask() -> None:
        try:
            for _ in range(100):
                broker.size([queue])
                broker.declare([Queue(queue)])
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=post, args=(first,)) for first in (0, 1000, 2000)]
    threads.append(threading.Thread(target=ask))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    broker.flush()
    assert not errors
    found = _bodies(redis_server, queue)
    assert len(found) == 900
    for first in (0, 1000, 2000):
        assert [n for n in found if first <= n < first + 1000] == list(range(first, first + 300))
