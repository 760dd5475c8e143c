"""Queues that come and go, order over several queues, clocks that jump, and rings that are lost."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from umbel_broker_sqlite import SqliteBroker
from umbel_broker_sqlite.topology import topic
from umbel_kernel.clock import SYSTEM_CLOCK, Clock
from umbel_kernel.errors import ChannelError, NotSupported, OperationalError, PublishError
from umbel_kernel.spi.message import Message
from umbel_kernel.spi.topology import Binding, Exchange, Queue
from umbel_kernel.url import URL
from umbel_testkit.background import Background
from umbel_testkit.waiting import eventually


class TestClock:
    """A clock that is set by hand."""

    __test__ = False

    def __init__(self) -> None:
        self.wall = 1_800_000_000.0
        self.since_start = 1000.0

    def time(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return self.since_start


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., SqliteBroker]]:
    made: list[SqliteBroker] = []

    def new(clock: Clock = SYSTEM_CLOCK, **options: object) -> SqliteBroker:
        broker = SqliteBroker(URL.parse(f"sqlite:///{tmp_path}/broker.db"), options, clock=clock)
        broker.connect(timeout=5)
        made.append(broker)
        return broker

    yield new
    for broker in made:
        broker.close()


def names(broker: SqliteBroker) -> set[str]:
    with broker._connection.reading("test") as connection:
        return {row[0] for row in connection.execute("SELECT name FROM umbel_broker_queue")}


def test_priorities_over_several_queues(make: Callable[..., SqliteBroker]) -> None:
    broker = make()
    sent = [("a", 0, b"1"), ("b", 255, b"2"), ("a", 9, b"3"), ("b", None, b"4"), ("c", 9, b"5"), ("a", 0, b"6")]
    broker.publish([Message(body, queue, priority=priority) for queue, priority, body in sent])
    consumer = broker.consumer([Queue("c"), Queue("a"), Queue("b")])
    first = consumer.receive(2, 1)
    assert [(found.body, found.queue, found.priority) for found in first] == [(b"2", "b", 255), (b"3", "a", 9)]
    consumer.ack(first)
    assert [found.body for found in consumer.receive(10, 1)] == [b"5", b"1", b"4", b"6"]


def test_a_priority_over_the_highest_is_the_highest(make: Callable[..., SqliteBroker]) -> None:
    broker = make()
    queue = Queue("tasks", max_priority=5)
    broker.declare([queue])
    broker.publish([Message(b"1", "tasks", priority=5), Message(b"2", "tasks", priority=9)])
    assert [found.body for found in broker.consumer([queue]).receive(10, 1)] == [b"1", b"2"]


def test_an_auto_delete_queue_goes_with_its_last_consumer(make: Callable[..., SqliteBroker]) -> None:
    broker, other = make(), make()
    queue = Queue("replies", auto_delete=True)
    broker.declare([queue])
    first, last = broker.consumer([queue]), other.consumer([queue])
    first.close()
    assert names(broker) == {"replies"}
    last.close()
    assert names(broker) == set()


def test_an_exclusive_queue_is_of_one_connection(make: Callable[..., SqliteBroker]) -> None:
    broker, other = make(), make()
    queue = Queue("mine", exclusive=True)
    broker.declare([queue])
    broker.declare([queue])
    with pytest.raises(ChannelError, match="exclusive"):
        other.declare([queue])
    with pytest.raises(ChannelError, match="exclusive"):
        other.consumer([queue])
    other.publish([Message(b"for you", "mine")])
    assert [found.body for found in broker.consumer([queue]).receive(1, 1)] == [b"for you"]
    broker.close()
    assert names(other) == set()


def test_an_unused_queue_expires(make: Callable[..., SqliteBroker]) -> None:
    clock = TestClock()
    broker = make(clock)
    broker.declare([Queue("brief", expires=10.0), Queue("read", expires=10.0), Queue("kept")])
    broker.publish([Message(b"1", "brief")])
    reader = broker.consumer([Queue("read")])
    clock.wall += 11
    clock.since_start += 1
    assert reader.receive(1, 0) == []
    assert names(broker) == {"read", "kept"}
    reader.close()
    clock.wall += 11
    broker.declare([Queue("kept")])
    assert names(broker) == {"kept"}


@pytest.mark.parametrize(
    "again",
    [Queue("tasks", max_priority=3), Queue("tasks", auto_delete=True), Queue("tasks", message_ttl=1.0)],
)
def test_other_properties_are_refused(make: Callable[..., SqliteBroker], again: Queue) -> None:
    broker = make()
    broker.declare([Queue("tasks")])
    with pytest.raises(ChannelError, match="'tasks' is there with other properties"):
        broker.declare([again])


def test_a_queue_that_a_message_made_may_be_declared(make: Callable[..., SqliteBroker]) -> None:
    broker = make()
    broker.publish([Message(b"first", "tasks", priority=9)])
    broker.declare([Queue("tasks", max_priority=9)])
    assert broker.size(["tasks"]) == {"tasks": 1}


def test_an_exchange_keeps_its_type(make: Callable[..., SqliteBroker]) -> None:
    broker = make()
    broker.declare([Queue("tasks", (Binding(Exchange("e", "direct"), "k"),))])
    with pytest.raises(ChannelError, match="'direct', not 'fanout'"):
        broker.bind("tasks", Exchange("e", "fanout"))
    with pytest.raises(NotSupported, match="headers"):
        broker.bind("tasks", Exchange("h", "headers"))
    with pytest.raises(ChannelError, match="no queue 'missing'"):
        broker.bind("missing", Exchange("e", "direct"))


def test_a_queue_that_is_made_anew_is_read_and_written_on(make: Callable[..., SqliteBroker]) -> None:
    reader, writer, third = make(), make(), make()
    reader.declare([Queue("tasks")])
    consumer = reader.consumer([Queue("tasks")])
    writer.publish([Message(b"1", "tasks")])
    assert [found.body for found in consumer.receive(10, 5)] == [b"1"]
    third.delete(["tasks"])
    assert consumer.receive(10, 0) == []
    third.declare([Queue("tasks")])
    writer.publish([Message(b"2", "tasks")])
    assert [found.body for found in consumer.receive(10, 5)] == [b"2"]


@pytest.mark.parametrize("how", ["ack", "requeue", "close"])
def test_a_message_held_while_its_queue_is_deleted_goes(make: Callable[..., SqliteBroker], how: str) -> None:
    broker, other = make(), make()
    broker.publish([Message(b"1", "tasks"), Message(b"2", "tasks", delay=60.0)])
    consumer = broker.consumer([Queue("tasks")])
    held = consumer.receive(1, 1)
    other.delete(["tasks"])
    if how == "ack":
        consumer.ack(held)
    elif how == "requeue":
        consumer.reject(held, requeue=True)
    else:
        consumer.close()
    with broker._connection.reading("test") as connection:
        for table in ("message", "ready", "later", "claim"):
            assert connection.execute(f"SELECT count(*) FROM umbel_broker_{table}").fetchone() == (0,), table


def test_jumps_of_the_wall_clock_take_nothing_from_a_live_consumer(make: Callable[..., SqliteBroker]) -> None:
    clock = TestClock()
    broker, other = make(clock), make(clock)
    broker.publish([Message(b"1", "tasks"), Message(b"due", "tasks", delay=60.0)])
    consumer, rival = broker.consumer([Queue("tasks")]), other.consumer([Queue("tasks")])
    held = consumer.receive(10, 0)
    assert [found.body for found in held] == [b"1"]
    clock.wall -= 86400 * 365
    clock.since_start += 1
    assert rival.receive(10, 0) == []
    clock.wall += 2 * 86400 * 365
    clock.since_start += 1
    (due,) = rival.receive(10, 0)
    assert due.body == b"due"
    consumer.ack(held)
    rival.ack([due])
    assert broker.size(["tasks"]) == {"tasks": 0}


def test_a_silent_consumer_goes_on_after_its_lease(make: Callable[..., SqliteBroker]) -> None:
    clock = TestClock()
    broker, other = make(clock, sqlite_lease=10.0), make(clock, sqlite_lease=10.0)
    broker.publish([Message(b"1", "tasks")])
    consumer, rival = broker.consumer([Queue("tasks")]), other.consumer([Queue("tasks")])
    held = consumer.receive(10, 0)
    clock.since_start += 9
    rival.extend([])
    assert rival.receive(10, 0) == []
    clock.since_start += 2
    (taken,) = rival.receive(10, 0)
    consumer.ack(held)
    rival.reject([taken], requeue=True)
    (back,) = consumer.receive(10, 0)
    assert (back.body, back.delivery_count) == (b"1", 2)
    consumer.ack([back])
    assert rival.receive(10, 0) == []


def test_expired_messages_are_swept_out(make: Callable[..., SqliteBroker]) -> None:
    clock = TestClock()
    broker = make(clock)
    broker.publish([Message(b"old", "tasks", expiration=5.0), Message(b"new", "tasks", expiration=500.0)])
    sweeper = broker.consumer([Queue("other")])
    clock.wall += 6
    clock.since_start += 1
    sweeper.receive(1, 0)
    assert broker.size(["tasks"]) == {"tasks": 1}


@pytest.mark.parametrize("limit", [1, 10])
def test_every_waiter_gets_its_share(make: Callable[..., SqliteBroker], limit: int) -> None:
    broker = make(sqlite_poll_interval=30.0)
    broker.declare([Queue("tasks")])
    readings = []
    for _ in range(3):
        consumer = make(sqlite_poll_interval=30.0).consumer([Queue("tasks")])
        readings.append(Background(lambda consumer=consumer: consumer.receive(limit, 20.0)))  # type: ignore[misc]

    def waiting() -> bool:
        with broker._connection.reading("test") as connection:
            return bool(connection.execute("SELECT count(*) FROM umbel_broker_waiter").fetchone()[0] == 3)

    eventually(waiting, within=5, what="three waiters")
    for number in range(3):
        broker.publish([Message(b"%d" % number, "tasks")])
        if limit > 1:
            eventually(
                lambda number=number: sum(each.done for each in readings) > number,  # type: ignore[misc]
                within=5,
                what="a waiter to be rung",
            )
    found = [delivery.body for reading in readings for delivery in reading.result(within=5)]
    assert sorted(found) == [b"0", b"1", b"2"]


def test_a_dead_waiter_does_not_swallow_the_ring(make: Callable[..., SqliteBroker]) -> None:
    broker = make()
    broker.declare([Queue("tasks")])
    consumer = make(sqlite_poll_interval=30.0).consumer([Queue("tasks")])
    reading = Background(lambda: consumer.receive(1, 20.0))

    def with_ghosts() -> bool:
        with broker._connection.transaction(time.monotonic() + 5, "test") as connection:
            rows = [(-number, f"@umbel-nobody-{number}") for number in range(3)]
            connection.executemany(
                "INSERT OR IGNORE INTO umbel_broker_waiter SELECT queue, ?, ? FROM umbel_broker_waiter LIMIT 1", rows
            )
            return bool(connection.execute("SELECT count(*) FROM umbel_broker_waiter").fetchone()[0] == 4)

    eventually(with_ghosts, within=5, what="a waiter among three ghosts")
    broker.publish([Message(b"1", "tasks")])
    assert [found.body for found in reading.result(within=5)] == [b"1"]


def test_members_of_before_a_restart_of_the_machine_are_lost(make: Callable[..., SqliteBroker]) -> None:
    before, after = TestClock(), TestClock()
    broker, other = make(before), make(after)
    broker.publish([Message(b"1", "tasks")])
    assert len(broker.consumer([Queue("tasks")]).receive(1, 0)) == 1
    after.since_start = 5.0
    assert [found.body for found in other.consumer([Queue("tasks")]).receive(1, 0)] == [b"1"]


def test_a_lost_ring_costs_only_the_poll_interval(make: Callable[..., SqliteBroker]) -> None:
    broker = make()
    broker.declare([Queue("tasks")])
    consumer = make(sqlite_poll_interval=0.2).consumer([Queue("tasks")])
    reading = Background(lambda: consumer.receive(1, 20.0))

    def forgotten() -> bool:
        with broker._connection.transaction(time.monotonic() + 5, "test") as connection:
            return connection.execute("DELETE FROM umbel_broker_waiter").rowcount > 0

    eventually(forgotten, within=5, what="a waiter to forget")
    began = time.monotonic()
    broker.publish([Message(b"1", "tasks")])
    assert [found.body for found in reading.result(within=5)] == [b"1"]
    assert time.monotonic() - began < 1.0


def test_headers_that_are_no_plain_data_are_refused(make: Callable[..., SqliteBroker]) -> None:
    broker = make()
    bad = Message(b"1", "tasks", headers={"x": object()})
    with pytest.raises(PublishError, match="'tasks' cannot be stored: a object in headers"):
        broker.publish([bad])
    assert broker.size(["tasks"]) == {"tasks": 0}


@pytest.mark.parametrize("envelope", ["", "{", "b", "[1]", '{"a": 1}', "[" * 100_000])
def test_an_envelope_that_cannot_be_read_is_delivered_bare(make: Callable[..., SqliteBroker], envelope: str) -> None:
    broker = make()
    broker.publish([Message(b"1", "tasks", headers={"a": 1})])
    with broker._connection.transaction(time.monotonic() + 5, "test") as connection:
        connection.execute("UPDATE umbel_broker_message SET envelope = ?", (envelope,))
    consumer = broker.consumer([Queue("tasks")])
    (found,) = consumer.receive(1, 1)
    assert (found.body, found.headers, found.properties) == (b"1", {}, {})
    consumer.ack([found])


def test_a_closed_consumer_says_so(make: Callable[..., SqliteBroker]) -> None:
    consumer = make().consumer([Queue("tasks")])
    consumer.close()
    with pytest.raises(OperationalError, match="closed"):
        consumer.receive(1, 0)


def test_nothing_stays_open(tmp_path: Path) -> None:
    def open_files() -> int:
        gc.collect()
        return len(list(Path("/proc/self/fd").iterdir()))

    def use() -> None:
        broker = SqliteBroker(URL.parse(f"sqlite:///{tmp_path}/broker.db"))
        broker.declare([Queue("tasks"), Queue("mine", exclusive=True)])
        consumer = broker.consumer([Queue("tasks")])
        broker.publish([Message(b"1", "tasks")])
        consumer.ack(consumer.receive(1, 5))
        broker.close()

    use()
    before = open_files()
    for _ in range(5):
        use()
    assert open_files() == before


def test_topic_patterns_in_the_long_run() -> None:
    assert topic("#.a.#.b.#").fullmatch("a.b")
    assert topic("#.a.#.b.#").fullmatch("x.a.y.z.b.w")
    assert not topic("#.a.#.b.#").fullmatch("b.a")
    assert topic("#.#.a").fullmatch("a")
    assert topic("a.#.*").fullmatch("a.b")
    assert not topic("a.#.*").fullmatch("a")
    began = time.monotonic()
    assert not topic("#.a.#.a.#.a.b").fullmatch(".".join(["a"] * 60))
    assert time.monotonic() - began < 1.0
