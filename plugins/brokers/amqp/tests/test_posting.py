"""Posts whose confirms do not come, are refusals, or come late."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
import time
import uuid
from typing import Any

import pytest

from umbel_broker_amqp import AmqpBroker
from umbel_kernel.errors import ChannelError, EncodeError, PublishError
from umbel_kernel.spi.message import Message
from umbel_kernel.spi.topology import Binding, Exchange, Queue
from umbel_kernel.url import URL

PROGRAM = """
import sys
from umbel import Umbel
app = Umbel("leaves", broker=sys.argv[1], task_default_queue=sys.argv[2])
@app.task(ignore_result=True)
def add(x, y): ...
for number in range(5):
    add.delay(number, number)
"""


@pytest.fixture(autouse=True)
def amid_a_burst(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is tested here is what happens once posts do not wait any more."""
    monkeypatch.setattr("umbel_broker_amqp.outlet._SUSTAINED", 0)


def messages(queue: Queue, *numbers: int) -> list[Message]:
    return [Message(str(number).encode(), queue.name) for number in numbers]


def bodies(broker: AmqpBroker, queue: Queue) -> list[int]:
    """Empty the queue of what is in it."""
    consumer = broker.consumer([queue])
    found: list[int] = []
    while batch := consumer.receive(100, 0.5):
        found += [int(delivery.body) for delivery in batch]
        consumer.ack(batch)
    consumer.close()
    return found


def lose(broker: AmqpBroker, proxy: Any, queue: Queue, count: int) -> list[Message]:
    """Post so many into a connection that swallows them, and cut it."""
    proxy.frozen.set()
    swallowed = messages(queue, *range(count))
    for message in swallowed:
        broker.post([message])
    proxy.cut()
    proxy.frozen.clear()
    return swallowed


@pytest.mark.parametrize("call", ["post", "publish"])
def test_a_lost_connection_gives_back_what_was_posted_then_what_is_new(
    broker: AmqpBroker, proxy: Any, queue: Queue, direct: AmqpBroker, call: str
) -> None:
    swallowed = lose(broker, proxy, queue, 20)
    [new] = messages(queue, 20)
    with pytest.raises(PublishError) as caught:
        for _ in range(100):  # the kernel may take a write before it hears of the end
            getattr(broker, call)([new], timeout=2)
    failed = list(caught.value.failed)
    assert failed[:20] == swallowed
    assert failed[20:] and set(map(id, failed[20:])) == {id(new)}
    broker.publish(failed)
    found = bodies(direct, queue)
    assert sorted(set(found)) == list(range(21))
    assert found[:20] == list(range(20))
    broker.flush()
    assert direct.size([queue.name]) == {queue.name: 0}


def test_a_flush_gives_back_what_was_posted(broker: AmqpBroker, proxy: Any, queue: Queue) -> None:
    swallowed = lose(broker, proxy, queue, 3)
    with pytest.raises(PublishError) as caught:
        broker.flush(timeout=2)
    assert list(caught.value.failed) == swallowed
    broker.flush()
    broker.post(caught.value.failed)
    broker.flush()
    assert broker.size([queue.name]) == {queue.name: 3}


def test_declaring_on_a_lost_connection_forgets_nothing(broker: AmqpBroker, proxy: Any, queue: Queue) -> None:
    swallowed = lose(broker, proxy, queue, 3)
    broker.declare([queue])
    with pytest.raises(PublishError) as caught:
        broker.post(messages(queue, 3))
    assert list(caught.value.failed)[:3] == swallowed
    assert len(caught.value.failed) == 4


def test_a_silent_server_is_noticed_by_posts(broker: AmqpBroker, proxy: Any, queue: Queue) -> None:
    proxy.frozen.set()
    posted: list[Message] = []
    began = time.monotonic()
    with pytest.raises(PublishError, match=r"within 0\.3 s") as caught:
        while time.monotonic() - began < 5:
            posted += messages(queue, len(posted))
            broker.post(posted[-1:], timeout=0.3)
            time.sleep(0.01)
    assert 0.3 < time.monotonic() - began < 2
    assert list(caught.value.failed) == posted


def test_where_connections_end_fewer_are_let_run_ahead(
    broker: AmqpBroker, proxy: Any, queue: Queue, direct: AmqpBroker
) -> None:
    broker.publish(messages(queue, 0))
    assert broker._outlet._room == 10_000
    lose(broker, proxy, queue, 20)
    with pytest.raises(PublishError):
        broker.flush(timeout=2)
    broker.close()
    # The next broker of the address knows of it; a broker by another way does not.
    successor = AmqpBroker(broker.url)
    for number in range(2000):
        successor.post(messages(queue, number))
        assert number < 40 or len(successor._outlet._unconfirmed) <= 500
    successor.flush()
    successor.close()
    direct.post(messages(queue, 1))
    assert direct._outlet._room == 10_000


def test_a_full_window_waits_until_there_is_room(proxy: Any, queue: Queue) -> None:
    broker = AmqpBroker(URL.parse(f"amqp://guest:guest@127.0.0.1:{proxy.port}//"), {"confirm_window": 10})
    try:
        for number in range(200):
            broker.post(messages(queue, number))
            assert len(broker._outlet._unconfirmed) <= 10
        broker.flush()
        assert broker.size([queue.name]) == {queue.name: 200}
        proxy.frozen.set()
        posted = messages(queue, *range(11))
        for message in posted[:10]:
            broker.post([message], timeout=0.5)
        with pytest.raises(PublishError) as caught:
            broker.post(posted[10:], timeout=0.5)
        assert list(caught.value.failed) == posted
    finally:
        broker.close()


def test_what_the_queue_refuses_is_given_back(broker: AmqpBroker, queue: Queue) -> None:
    full = Queue(f"full-{uuid.uuid4().hex}", arguments={"x-max-length": 1, "x-overflow": "reject-publish"})
    broker.declare([full])
    try:
        first, second = messages(full, 1, 2)
        [elsewhere] = messages(queue, 3)
        with pytest.raises(PublishError, match="refused") as caught:
            for message in (first, second, elsewhere):
                broker.post([message])
            broker.flush()
        assert list(caught.value.failed) == [second]
    finally:
        broker.delete([full.name])


def test_the_first_post_to_a_missing_exchange_fails_at_once(broker: AmqpBroker, queue: Queue) -> None:
    broker.post(messages(queue, 1))
    bad = Message(b"0", "key", f"nowhere-{uuid.uuid4().hex}")
    with pytest.raises(PublishError, match="no exchange") as caught:
        broker.post([bad])
    assert list(caught.value.failed) == [bad]
    broker.flush()
    assert broker.size([queue.name]) == {queue.name: 1}


@pytest.fixture
def vanished(broker: AmqpBroker, queue: Queue) -> str:
    """An exchange to which was published and which is gone."""
    exchange = Exchange(f"vanishes-{uuid.uuid4().hex}", "direct", durable=False)
    bound = Queue(queue.name, bindings=(Binding(exchange, "key"),))
    broker.declare([bound])
    broker.publish([Message(b"-1", "key", exchange.name)])
    with broker._outlet.side(5) as channel:
        channel.exchange_delete(exchange.name)
    return exchange.name


def test_a_vanished_exchange_costs_only_its_own_messages(broker: AmqpBroker, queue: Queue, vanished: str) -> None:
    sent = 0
    with pytest.raises(ChannelError, match="1 messages posted before are given up"):
        while sent < 5000:
            broker.post(messages(queue, sent))
            if sent == 3:
                broker.post([Message(b"9999", "key", vanished)])
            sent += 1
            time.sleep(0.001)
    try:
        broker.flush()
    except PublishError as error:
        broker.publish(error.failed)
    found = set(bodies(broker, queue))
    assert found == {-1, *range(sent)}


def test_a_batch_that_hears_of_a_vanished_exchange_sends_the_others(
    broker: AmqpBroker, queue: Queue, vanished: str
) -> None:
    [first, last] = messages(queue, 1, 2)
    bad = Message(b"9999", "key", vanished)
    try:
        broker.publish([first, bad, last])
    except PublishError as error:
        assert list(error.failed) == [bad]
    else:
        pytest.fail("nothing was said of the exchange")
    assert set(bodies(broker, queue)) == {-1, 1, 2}


def test_confirm_publish_on_waits_and_off_knows_nothing(proxy: Any, queue: Queue) -> None:
    url = URL.parse(f"amqp://guest:guest@127.0.0.1:{proxy.port}//")
    strict, loose = AmqpBroker(url, {"confirm_publish": True}), AmqpBroker(url, {"confirm_publish": False})
    try:
        for broker in (strict, loose):
            broker.connect(timeout=5)
        proxy.frozen.set()
        [message] = messages(queue, 1)
        with pytest.raises(PublishError):
            strict.post([message], timeout=0.3)
        loose.post([message], timeout=0.3)
        loose.publish([message], timeout=0.3)
        loose.flush(timeout=0.3)
    finally:
        strict.close()
        loose.close()


def test_a_header_that_cannot_be_written_is_said_before_anything_is_sent(broker: AmqpBroker, queue: Queue) -> None:
    good = Message(b"1", queue.name)
    for send in (broker.post, broker.publish):
        with pytest.raises(EncodeError):
            send([good, Message(b"2", queue.name, headers={"no": object()})])
    broker.flush()
    assert broker.size([queue.name]) == {queue.name: 0}


@pytest.mark.parametrize("prefetch", [0, 2])
def test_held_messages_leave_room_for_new_ones(broker: AmqpBroker, queue: Queue, prefetch: int) -> None:
    broker.publish(messages(queue, *range(40)))
    consumer = broker.consumer([queue], prefetch=prefetch)
    held: list[Any] = []
    while len(held) < 30:
        found = consumer.receive(5, 5)
        assert found, f"nothing more comes while {len(held)} are held"
        held += found
    consumer.ack(held)
    rest = consumer.receive(10, 5)
    assert [int(delivery.body) for delivery in held + rest][:31] == list(range(31))


def test_calls_of_an_app_survive_a_cut(proxy: Any, direct: AmqpBroker) -> None:
    umbel = pytest.importorskip("umbel")
    name = f"posting-{uuid.uuid4().hex}"
    app = umbel.Umbel(
        "survives", broker=f"amqp://guest:guest@127.0.0.1:{proxy.port}//", task_default_queue=name, set_as_current=False
    )

    @app.task(ignore_result=True, name="survives.add")
    def add(x: int, y: int) -> None: ...

    try:
        sent = [add.delay(number, 1).id for number in range(10)]
        for _ in range(3):
            proxy.frozen.set()
            sent += [add.delay(number, 1).id for number in range(20)]
            proxy.cut()
            proxy.frozen.clear()
            sent += [add.delay(number, 1).id for number in range(50)]
        proxy.frozen.set()
        sent += [add.delay(number, 1).id for number in range(3)]
        proxy.cut()
        proxy.frozen.clear()
        app.close()
        consumer = direct.consumer([Queue(name)])
        found: set[str | None] = set()
        while batch := consumer.receive(100, 0.5):
            found |= {delivery.correlation_id for delivery in batch}
            consumer.ack(batch)
        assert found == set(sent)
    finally:
        direct.delete([name])


def test_a_process_may_end_right_after_a_call(amqp_url: str, direct: AmqpBroker) -> None:
    name = f"posting-{uuid.uuid4().hex}"
    try:
        subprocess.run([sys.executable, "-c", PROGRAM, amqp_url, name], check=True, timeout=30)
        assert direct.size([name]) == {name: 5}
    finally:
        direct.delete([name])


@pytest.mark.parametrize("call", ["post", "publish"])
def test_a_queue_that_was_deleted_is_declared_again_for_what_is_sent_to_it(
    broker: AmqpBroker, queue: Queue, direct: AmqpBroker, call: str, caplog: pytest.LogCaptureFixture
) -> None:
    broker.declare([queue])
    getattr(broker, call)(messages(queue, 1))
    broker.flush()
    direct.delete([queue.name])
    for number in (2, 3, 4):
        getattr(broker, call)(messages(queue, number))
    broker.flush()
    assert sorted(bodies(broker, queue)) == [2, 3, 4]
    assert "declared again" in caplog.text


def test_what_is_for_a_queue_that_nobody_knows_is_said_to_be_lost(
    broker: AmqpBroker, queue: Queue, caplog: pytest.LogCaptureFixture
) -> None:
    nowhere = f"nowhere-{uuid.uuid4().hex}"
    broker.publish([Message(b"1", nowhere), *messages(queue, 2), Message(b"1", nowhere)])
    assert bodies(broker, queue) == [2]
    assert f"2 messages for the queue '{nowhere}' are lost" in caplog.text


def test_calls_of_an_app_survive_the_end_of_their_queue(amqp_url: str, direct: AmqpBroker) -> None:
    umbel = pytest.importorskip("umbel")
    name = f"posting-{uuid.uuid4().hex}"
    app = umbel.Umbel("survives", broker=amqp_url, task_default_queue=name, set_as_current=False)
    app.send_task("a.task")
    app.connections.broker().flush()
    direct.delete([name])
    sent = {app.send_task("a.task").id for _ in range(5)}
    app.close()
    consumer = direct.consumer([Queue(name)])
    found: set[str | None] = set()
    while batch := consumer.receive(100, 0.5):
        found |= {delivery.correlation_id for delivery in batch}
        consumer.ack(batch)
    direct.delete([name])
    assert found == sent


def test_a_post_does_not_wait_beyond_its_timeout_for_another_thread(
    broker: AmqpBroker, proxy: Any, queue: Queue
) -> None:
    broker.post([Message(b"first", queue.name)], timeout=5)
    proxy.frozen.set()
    broker.post([Message(b"second", queue.name)], timeout=5)
    flushing = threading.Thread(target=_flush, args=(broker,))
    flushing.start()
    time.sleep(0.3)
    before = time.monotonic()
    with pytest.raises(PublishError) as caught:
        broker.post([third := Message(b"third", queue.name)], timeout=0.5)
    assert time.monotonic() - before < 1.0
    assert caught.value.failed == (third,)
    flushing.join()


def _flush(broker: AmqpBroker) -> None:
    with contextlib.suppress(PublishError):
        broker.flush(timeout=2.5)
