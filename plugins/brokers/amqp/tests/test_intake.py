"""How many messages the server sends ahead, on classic and on quorum queues."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator
from struct import pack
from typing import Any

import pytest
from amqp.serialization import dumps, loads

from umbel_broker_amqp import AmqpBroker
from umbel_broker_amqp.intake import MOST, Intake, SingleIntake
from umbel_kernel.spi.message import Delivery, Message
from umbel_kernel.spi.topology import Queue
from umbel_kernel.url import URL

QUORUM = {"x-queue-type": "quorum"}


class Wire:
    """A session that notes what is written: the methods, and what they say."""

    number = 1

    def __init__(self) -> None:
        self.said: list[tuple[str, Any]] = []
        self.channel = self

    def basic_qos(self, size: int, count: int, every: bool) -> None:
        self.said.append(("qos", (count, every)))

    def basic_consume(self, queue: str, consumer_tag: str, exclusive: bool) -> None:
        self.said.append(("consume", (queue, consumer_tag)))

    def write(self, data: bytes) -> None:
        at = 0
        while at < len(data):
            length = int.from_bytes(data[at + 3 : at + 7], "big")
            payload = data[at + 7 : at + 7 + length]
            at += length + 8
            match payload[:4]:
                case b"\x00\x3c\x00\x0a":
                    _, count, every = loads("lBb", payload, 4)[0]
                    self.said.append(("qos", (count, every)))
                case b"\x00\x3c\x00\x14":
                    _, queue, tag, _, _, _, nowait, _ = loads("BssbbbbF", payload, 4)[0]
                    assert nowait
                    self.said.append(("consume", (queue, tag)))
                case b"\x00\x3c\x00\x1e":
                    tag, nowait = loads("sb", payload, 4)[0]
                    assert nowait
                    self.said.append(("cancel", tag))

    def take(self) -> list[tuple[str, Any]]:
        said, self.said = self.said, []
        return said


class Feed:
    """Deliveries to an intake."""

    def __init__(self, intake: Intake) -> None:
        self.intake = intake
        self.tags = 0

    def come(self, consumer: str, count: int = 1) -> list[int]:
        found = []
        for _ in range(count):
            self.tags += 1
            method = pack(">HH", 60, 60) + dumps("sLbss", (consumer, self.tags, False, "", "k"))
            self.intake.came(method, Delivery(b"", self.intake.names[consumer], self.tags))
            found.append(self.tags)
        return found


def test_one_number_for_all_follows_what_is_held_and_asked_for() -> None:
    intake, wire = Intake([Queue("a"), Queue("b")], "me", 0), Wire()
    intake.begin(wire, 5)  # type: ignore[arg-type]
    assert [kind for kind, _ in wire.said] == ["qos", "consume", "consume"]
    assert wire.take()[0] == ("qos", (5, True))
    intake.ask(wire, 3, 2, 0)  # type: ignore[arg-type]
    assert wire.take() == []
    intake.ask(wire, 5, 7, 0)  # type: ignore[arg-type]
    assert wire.take() == [("qos", (12, True))]
    intake.ask(wire, 5, MOST, 0)  # type: ignore[arg-type]
    assert wire.take() == [("qos", (0, True))]


def test_who_holds_nothing_and_has_no_room_does_not_read() -> None:
    intake, wire = Intake([Queue("a"), Queue("b")], "me", 0), Wire()
    intake.begin(wire, 1)  # type: ignore[arg-type]
    tags = [value[1] for kind, value in wire.take() if kind == "consume"]
    assert intake.rest(wire, 1)  # type: ignore[arg-type]
    assert wire.take() == []
    assert intake.rest(wire, 0) and intake.rest(wire, 0)  # type: ignore[arg-type]
    assert wire.take() == [("cancel", tag) for tag in tags]
    intake.ask(wire, 2, 0, 0)  # type: ignore[arg-type]
    assert wire.take() == [("qos", (2, True)), ("consume", ("a", tags[0])), ("consume", ("b", tags[1]))]
    intake.ask(wire, 2, 0, 0)  # type: ignore[arg-type]
    assert wire.take() == []


@pytest.mark.parametrize(
    "queue",
    [
        Queue("a", exclusive=True),
        Queue("a", auto_delete=True),
        Queue("a", expires=60.0),
        Queue("a", arguments={"x-single-active-consumer": True}),
    ],
    ids=["exclusive", "deleted with its reader", "expires", "one reader at a time"],
)
def test_what_needs_a_reader_keeps_it(queue: Queue) -> None:
    intake, wire = Intake([queue], "me", 0), Wire()
    intake.begin(wire, 5)  # type: ignore[arg-type]
    wire.take()
    assert not intake.rest(wire, 0)  # type: ignore[arg-type]
    assert wire.take() == [("qos", (1, True))]


def test_what_is_sent_ahead_by_wish_stays() -> None:
    intake, wire = Intake([Queue("a")], "me", 3), Wire()
    intake.begin(wire, 1)  # type: ignore[arg-type]
    wire.take()
    assert not intake.rest(wire, 2)  # type: ignore[arg-type]
    assert wire.take() == []


@pytest.fixture
def clock() -> list[float]:
    return [1000.0]


@pytest.fixture
def single(clock: list[float]) -> SingleIntake:
    return SingleIntake([Queue("a", arguments=QUORUM)], "me", 0, now=lambda: clock[0])


def tag_of(said: list[tuple[str, Any]]) -> str:
    """The tag of the consumer that begins."""
    (found,) = [value[1] for kind, value in said if kind == "consume"]
    return str(found)


def test_steady_work_replaces_no_reader(single: SingleIntake) -> None:
    wire, feed = Wire(), Feed(single)
    single.begin(wire, 8)  # type: ignore[arg-type]
    said = wire.take()
    assert said[0] == ("qos", (8, False))
    tag = tag_of(said)
    held: list[int] = []
    for turn in range(500):
        room = 8 - len(held)
        if room:
            single.ask(wire, room, len(held), 0)  # type: ignore[arg-type]
        held += feed.come(tag, min(room, 1 + turn % 8))
        done, held = held[: 1 + turn % 3], held[1 + turn % 3 :]
        single.settled(done)
    assert wire.take() == []


def test_what_is_held_for_long_leaves_room(single: SingleIntake) -> None:
    wire, feed = Wire(), Feed(single)
    single.begin(wire, 4)  # type: ignore[arg-type]
    tag = tag_of(wire.take())
    held = feed.come(tag, 4)
    single.ask(wire, 4, 4, 0)  # type: ignore[arg-type]
    said = wire.take()
    assert [kind for kind, _ in said] == ["cancel", "qos", "consume"]
    assert said[0] == ("cancel", tag)
    assert said[1] == ("qos", (4, False))
    new = tag_of(said)
    # What the old reader was sent is still settled, and what was on its way to it is known.
    late = feed.come(tag)
    single.settled([*held, *late])
    single.ask(wire, 4, 0, 0)  # type: ignore[arg-type]
    assert wire.take() == []
    assert single.names[tag] == single.names[new] == "a"


def test_what_has_come_already_counts_as_room(single: SingleIntake) -> None:
    wire, feed = Wire(), Feed(single)
    single.begin(wire, 4)  # type: ignore[arg-type]
    tag = tag_of(wire.take())
    feed.come(tag, 4)
    single.ask(wire, 4, 0, 4)  # type: ignore[arg-type]
    assert wire.take() == []


def test_more_room_is_used_and_less_is_given_up_after_a_while(single: SingleIntake, clock: list[float]) -> None:
    wire = Wire()
    single.begin(wire, 4)  # type: ignore[arg-type]
    first = tag_of(wire.take())
    single.ask(wire, 700, 0, 0)  # type: ignore[arg-type]
    said = wire.take()
    assert [kind for kind, _ in said] == ["qos", "consume"]
    assert said[0] == ("qos", (1024, False))
    second = tag_of(said)
    for _ in range(50):
        single.ask(wire, 4, 0, 0)  # type: ignore[arg-type]
        clock[0] += 0.1
    assert wire.take() == []
    for _ in range(30):
        single.ask(wire, 4, 0, 0)  # type: ignore[arg-type]
        clock[0] += 1
    assert wire.take() == [("cancel", second)]
    assert first != second


def test_a_single_reader_of_too_many_is_replaced(single: SingleIntake, clock: list[float]) -> None:
    wire = Wire()
    single.begin(wire, 700)  # type: ignore[arg-type]
    first = tag_of(wire.take())
    for _ in range(30):
        single.ask(wire, 4, 0, 0)  # type: ignore[arg-type]
        clock[0] += 1
    said = wire.take()
    assert [kind for kind, _ in said] == ["cancel", "qos", "consume"]
    assert said[:2] == [("cancel", first), ("qos", (4, False))]


def test_a_reader_that_may_still_be_sent_something_is_not_cancelled(single: SingleIntake) -> None:
    wire, feed = Wire(), Feed(single)
    single.begin(wire, 4)  # type: ignore[arg-type]
    first = tag_of(wire.take())
    feed.come(first, 3)
    single.ask(wire, 4, 3, 0)  # type: ignore[arg-type]
    said = wire.take()
    assert [kind for kind, _ in said] == ["qos", "consume"]
    feed.come(first, 1)
    feed.come(tag_of(said), 2)
    single.ask(wire, 4, 6, 0)  # type: ignore[arg-type]
    assert wire.take()[0] == ("cancel", first)


def test_readers_that_were_replaced_are_forgotten_in_time(single: SingleIntake) -> None:
    wire, feed = Wire(), Feed(single)
    single.begin(wire, 2)  # type: ignore[arg-type]
    tag = tag_of(wire.take())
    for _ in range(1000):
        tags = feed.come(tag, 2)
        single.ask(wire, 2, 2, 0)  # type: ignore[arg-type]
        tag = tag_of(wire.take())
        single.settled(tags)
    assert len(single.names) < 150
    assert len(single._by_tag) < 150
    assert not single._owners


@pytest.fixture
def replicated(direct: AmqpBroker) -> Iterator[Queue]:
    """A quorum queue."""
    made = Queue(f"intake-{uuid.uuid4().hex}", arguments=QUORUM)
    direct.declare([made])
    yield made
    direct.delete([made.name])


def fill(direct: AmqpBroker, queue: Queue, count: int) -> None:
    for start in range(0, count, 500):
        direct.publish(
            [Message(b"%d" % number, queue.name) for number in range(start, min(start + 500, count))], timeout=30
        )


def test_a_worker_without_room_leaves_all_to_others_and_sends_nothing_to_and_fro(
    direct: AmqpBroker, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(direct, queue, 20)
    consumer = direct.consumer([queue])
    (first,) = consumer.receive(1, 10)
    consumer.ack([first])
    came: list[int] = []

    def noted(*args: Any, _content: Any = consumer._content) -> None:
        came.append(1)
        _content(*args)

    monkeypatch.setattr(consumer._session._inbound, "_on_content", noted)
    for _ in range(5):
        assert consumer.receive(0, 0.1) == []
    assert len(came) <= 2
    other = direct.consumer([queue])
    found: list[Delivery] = []
    end = time.monotonic() + 20
    while len(found) < 10 and time.monotonic() < end:
        assert consumer.receive(0, 0.05) == []
        found += other.receive(10 - len(found), 1)
    assert len(found) == 10
    other.ack(found)
    other.close()
    while len(found) < 19 and time.monotonic() < end:
        found += (more := consumer.receive(19 - len(found), 1))
        consumer.ack(more)
    assert sorted(int(each.body) for each in [first, *found]) == list(range(20))
    consumer.close()


def test_a_quorum_queue_sends_no_more_than_there_is_room_for(direct: AmqpBroker, replicated: Queue) -> None:
    fill(direct, replicated, 50)
    consumer = direct.consumer([replicated])
    held = []
    while len(held) < 3:
        held += consumer.receive(3 - len(held), 5)
    time.sleep(0.3)
    assert consumer.receive(0, 0.2) == []
    assert len(consumer._ready) == 0
    assert direct.size([replicated.name]) == {replicated.name: 47}
    consumer.close()


def test_held_messages_do_not_stall_a_quorum_queue(direct: AmqpBroker, replicated: Queue) -> None:
    fill(direct, replicated, 600)
    consumer = direct.consumer([replicated])
    held: list[Delivery] = []
    while len(held) < 500:
        found = consumer.receive(4, 5)
        assert found, f"nothing more comes while {len(held)} are held"
        held += found
    other = direct.consumer([replicated])
    there = 0
    while found := other.receive(100, 0.5):
        there += len(found)
        other.ack(found)
    other.close()
    assert len(held) + len(consumer._ready) + there == 600
    assert [int(delivery.body) for delivery in held] == list(range(len(held)))
    consumer.ack(held[100:])
    consumer.reject(held[:100], requeue=True)
    again = []
    while len(again) < 100:
        found = consumer.receive(100, 5)
        assert found
        again += [delivery for delivery in found if delivery.redelivered]
        consumer.ack(found)
    assert {delivery.delivery_count for delivery in again} == {1}
    consumer.close()


def test_every_message_comes_once_while_readers_are_replaced_at_full_speed(
    direct: AmqpBroker, amqp_url: str, replicated: Queue
) -> None:
    total = 5000
    sender = AmqpBroker(URL.parse(amqp_url))
    thread = threading.Thread(target=fill, args=(sender, replicated, total))
    thread.start()
    consumer = direct.consumer([replicated])
    seen: list[int] = []
    held: list[Delivery] = []
    limits = [1, 7, 300, 2, 64, 3]
    end = time.monotonic() + 40
    while len(seen) < total and time.monotonic() < end:
        found = consumer.receive(limits[len(seen) % 6], 2)
        assert not any(delivery.redelivered for delivery in found)
        seen += [int(delivery.body) for delivery in found]
        held += found
        if len(held) > 150:
            consumer.ack(held[:120])
            held = held[120:]
    thread.join()
    sender.close()
    readers = next(consumer._intake._numbers)
    print(f"{readers} readers for {total} messages")
    assert sorted(seen) == list(range(total))
    consumer.ack(held)
    consumer.close()
    assert direct.size([replicated.name]) == {replicated.name: 0}


def test_a_quorum_queue_that_nobody_knows_to_be_one(direct: AmqpBroker, replicated: Queue) -> None:
    fill(direct, replicated, 20)
    consumer = direct.consumer([Queue(replicated.name)])
    held: list[Delivery] = []
    while len(held) < 20:
        found = consumer.receive(3, 5)
        assert found
        held += found
    assert isinstance(consumer._intake, SingleIntake)
    consumer.ack(held)
    consumer.close()


def test_classic_and_quorum_queues_together(direct: AmqpBroker, replicated: Queue, queue: Queue) -> None:
    fill(direct, replicated, 60)
    fill(direct, queue, 60)
    consumer = direct.consumer([replicated, queue])
    held: list[Delivery] = []
    while len(held) < 120:
        found = consumer.receive(5, 5)
        assert found, len(held)
        held += found
    assert {(each.queue, each.delivery_count) for each in held} == {(replicated.name, 0), (queue.name, None)}
    consumer.ack(held)
    consumer.close()
