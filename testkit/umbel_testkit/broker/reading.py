"""Receiving: limits, timeouts and being woken."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from umbel_kernel.spi.broker import Broker
from umbel_kernel.spi.message import Delivery
from umbel_kernel.spi.topology import Queue
from umbel_testkit.background import Background
from umbel_testkit.broker.case import BrokerCase, MakeBroker, NewQueue
from umbel_testkit.waiting import Stopwatch

A_MOMENT = 0.1


class ReadingSuite(BrokerCase):
    """Receiving: limits, timeouts and being woken."""

    def test_limit_is_kept(self, broker: Broker, queue: Queue) -> None:
        self.send(broker, queue, *(str(number).encode() for number in range(7)))
        consumer = broker.consumer([queue])
        found: list[Delivery] = []
        while len(found) < 7:
            batch = consumer.receive(3, self.patience)
            assert 1 <= len(batch) <= 3
            found += batch
        assert [delivery.body for delivery in found] == [str(number).encode() for number in range(7)]
        self.nothing(consumer)

    def test_prefetch_does_not_keep_messages_back(self, broker: Broker, queue: Queue) -> None:
        self.send(broker, queue, b"1", b"2", b"3", b"4", b"5")
        consumer = broker.consumer([queue], prefetch=2, name="umbel-testkit")
        for number in (b"1", b"2", b"3", b"4", b"5"):
            found = self.take(consumer, 1)
            assert found[0].body == number
            consumer.ack(found)

    def test_several_queues_are_read(self, broker: Broker, new_queue: NewQueue) -> None:
        queues = [new_queue(broker) for _ in range(3)]
        for queue in queues:
            self.send(broker, queue, queue.name.encode())
        found = self.take(broker.consumer(queues), 3)
        assert sorted(delivery.queue for delivery in found) == sorted(queue.name for queue in queues)
        assert all(delivery.body.decode() == delivery.queue for delivery in found)

    def test_other_queues_are_not_read(self, broker: Broker, new_queue: NewQueue) -> None:
        mine, other = new_queue(broker), new_queue(broker)
        self.send(broker, other, b"not mine")
        self.nothing(broker.consumer([mine]))

    def test_timeout_0_does_not_wait(self, broker: Broker, queue: Queue) -> None:
        consumer = broker.consumer([queue])
        with Stopwatch() as watch:
            assert consumer.receive(1, 0) == []
        assert watch.seconds < 1.0

    def test_a_short_timeout_is_kept(self, broker: Broker, queue: Queue) -> None:
        consumer = broker.consumer([queue])
        with Stopwatch() as watch:
            assert consumer.receive(1, 0.5) == []
        assert 0.45 <= watch.seconds < 1.5

    def test_what_is_there_comes_at_once(self, broker: Broker, queue: Queue) -> None:
        self.send(broker, queue, b"there")
        reading = Background(lambda: broker.consumer([queue]).receive(100, None))
        assert [found.body for found in reading.result(within=self.patience)] == [b"there"]

    @pytest.mark.parametrize("timeout", [None, 30.0], ids=["without limit", "30 s"])
    def test_a_message_ends_the_wait(
        self, broker: Broker, connect: MakeBroker, queue: Queue, timeout: float | None
    ) -> None:
        consumer = broker.consumer([queue])
        reading = Background(lambda: consumer.receive(5, timeout))
        time.sleep(A_MOMENT)
        assert not reading.done
        self.send(connect(), queue, b"news")
        assert [found.body for found in reading.result(within=self.patience)] == [b"news"]

    def test_a_message_from_the_same_broker_ends_the_wait(self, broker: Broker, queue: Queue) -> None:
        consumer = broker.consumer([queue])
        reading = Background(lambda: consumer.receive(5, None))
        time.sleep(A_MOMENT)
        self.send(broker, queue, b"news")
        assert [found.body for found in reading.result(within=self.patience)] == [b"news"]

    @pytest.mark.parametrize("limit", [0, 5])
    @pytest.mark.parametrize("timeout", [None, 30.0], ids=["without limit", "30 s"])
    def test_wake_ends_a_receive_that_waits(
        self, broker: Broker, queue: Queue, limit: int, timeout: float | None
    ) -> None:
        consumer = broker.consumer([queue])
        reading = Background(lambda: consumer.receive(limit, timeout))
        time.sleep(A_MOMENT)
        assert not reading.done
        consumer.wake()
        assert reading.result(within=self.patience) == []

    @pytest.mark.parametrize("limit", [0, 5])
    def test_wake_before_ends_the_next_receive(self, broker: Broker, queue: Queue, limit: int) -> None:
        consumer = broker.consumer([queue])
        consumer.wake()
        reading = Background(lambda: consumer.receive(limit, 30.0))
        assert reading.result(within=self.patience) == []

    def test_many_wakes_end_few_receives(self, broker: Broker, queue: Queue) -> None:
        consumer = broker.consumer([queue])
        for _ in range(100):
            consumer.wake()
        assert consumer.receive(1, 30.0) == []
        with Stopwatch() as watch:
            consumer.receive(1, 0.5)
            consumer.receive(1, 0.5)
        assert watch.seconds >= 0.45, "wakes that came together have to end one receive, or the worker's loop spins"

    @pytest.mark.parametrize("limit", [0, 5])
    def test_what_is_watched_ends_a_receive_while_it_is_readable(
        self, broker: Broker, queue: Queue, limit: int
    ) -> None:
        consumer = broker.consumer([queue])
        reading, writing = os.pipe()
        try:
            if not consumer.watch(reading):
                return
            waiting = Background(lambda: consumer.receive(limit, 30.0))
            time.sleep(A_MOMENT)
            assert not waiting.done
            os.write(writing, b"x")
            assert waiting.result(within=self.patience) == []
            again = Background(lambda: consumer.receive(limit, 30.0))
            assert again.result(within=self.patience) == []
            os.read(reading, 1)
            with Stopwatch() as watch:
                assert consumer.receive(limit, 0.3) == []
            assert watch.seconds >= 0.25, "what is not readable any more ends no receive, or the worker's loop spins"
            os.write(writing, b"x")
            self.send(broker, queue, b"kept")
            assert [delivery.body for delivery in self.take(consumer, 1)] == [b"kept"]
        finally:
            consumer.close()
            os.close(reading)
            os.close(writing)

    def test_wake_takes_no_message(self, broker: Broker, queue: Queue) -> None:
        consumer = broker.consumer([queue])
        consumer.wake()
        self.send(broker, queue, b"kept")
        found = consumer.receive(5, self.patience) or self.take(consumer, 1)
        assert [delivery.body for delivery in found] == [b"kept"]

    def test_wake_from_a_signal_handler(self, broker: Broker, queue: Queue) -> None:
        if threading.current_thread() is not threading.main_thread():
            pytest.skip("signal handlers are set in the main thread only")
        consumer = broker.consumer([queue])
        before = signal.signal(signal.SIGALRM, lambda number, frame: consumer.wake())
        try:
            signal.setitimer(signal.ITIMER_REAL, A_MOMENT)
            with Stopwatch() as watch:
                assert consumer.receive(1, self.patience) == []
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        assert watch.seconds < self.patience / 2

    def test_wake_after_close_is_harmless(self, broker: Broker, queue: Queue) -> None:
        consumer = broker.consumer([queue])
        consumer.close()
        consumer.wake()
        broker.close()
        consumer.wake()

    def test_limit_0_takes_nothing(self, broker: Broker, queue: Queue) -> None:
        self.send(broker, queue, b"left alone")
        consumer = broker.consumer([queue])
        with Stopwatch() as watch:
            assert consumer.receive(0, 0.5) == []
        assert 0.45 <= watch.seconds < 1.5
        assert self.take(consumer, 1)[0].body == b"left alone"
