"""Brokers that each break one promise that the memory broker keeps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from umbel_broker_memory import MemoryBroker
from umbel_broker_memory.consumer import MemoryConsumer
from umbel_kernel.errors import OperationalError
from umbel_kernel.spi.broker import Consumer
from umbel_kernel.spi.message import Delivery, Message
from umbel_kernel.spi.topology import Queue
from umbel_kernel.url import URL
from umbel_testkit.broker import BrokerConformance


class Odd(MemoryBroker):
    """A memory broker whose consumers are of another class."""

    consumer_class: type[MemoryConsumer] = MemoryConsumer

    def consumer(self, queues: Sequence[Queue], *, prefetch: int = 0, name: str = "", identity: str = "") -> Consumer:
        made = self.consumer_class(self._store, queues, self._lease, self._clock, self._consumers.discard)
        self._consumers.add(made)
        return made


class BrokerCase(BrokerConformance):
    patience = 1.0
    quiet = 0.05
    short_lease_options = {"memory_lease": 0.5}
    broker_class: type[MemoryBroker] = Odd

    @pytest.fixture
    def make_broker(self) -> Callable[..., MemoryBroker]:
        return lambda **options: self.broker_class(URL.parse("memory://broken"), options)


class TestReversesBatches(BrokerCase):
    must_fail = "test_a_batch_keeps_its_order"

    class broker_class(Odd):
        def publish(self, messages: Sequence[Message], *, timeout: float = 5.0) -> None:
            super().publish(list(reversed(messages)))


class TestDropsHeaders(BrokerCase):
    must_fail = "test_headers_come_back"

    class broker_class(Odd):
        class consumer_class(MemoryConsumer):
            def receive(self, limit: int, timeout: float | None) -> list[Delivery]:
                found = super().receive(limit, timeout)
                for delivery in found:
                    delivery.headers = {name: value for name, value in delivery.headers.items() if value is not None}
                return found


class TestIgnoresTheLimit(BrokerCase):
    must_fail = "test_limit_is_kept"

    class broker_class(Odd):
        class consumer_class(MemoryConsumer):
            def receive(self, limit: int, timeout: float | None) -> list[Delivery]:
                return super().receive(limit + 2 if limit else 0, timeout)


class TestForgetsToRedeliver(BrokerCase):
    must_fail = "test_close_gives_back_what_is_held"

    class broker_class(Odd):
        class consumer_class(MemoryConsumer):
            def close(self) -> None:
                self._held.clear()
                super().close()


class TestAcknowledgesOnReceive(BrokerCase):
    must_fail = "test_reject_with_requeue_brings_it_back"

    class broker_class(Odd):
        class consumer_class(MemoryConsumer):
            def receive(self, limit: int, timeout: float | None) -> list[Delivery]:
                found = super().receive(limit, timeout)
                self.ack(found)
                return found


class TestSleepsThroughWake(BrokerCase):
    must_fail = "test_wake_ends_a_receive_that_waits"

    class broker_class(Odd):
        class consumer_class(MemoryConsumer):
            def wake(self) -> None:
                pass


class TestSaysThatItWatches(BrokerCase):
    must_fail = "test_what_is_watched_ends_a_receive_while_it_is_readable"

    class broker_class(Odd):
        class consumer_class(MemoryConsumer):
            def watch(self, file: int) -> bool:
                return True


class TestForgetsAnEarlyWake(BrokerCase):
    must_fail = "test_wake_before_ends_the_next_receive"

    class broker_class(Odd):
        class consumer_class(MemoryConsumer):
            def receive(self, limit: int, timeout: float | None) -> list[Delivery]:
                while not self._bell.empty():
                    self._bell.get()
                self._woken = False
                return super().receive(limit, timeout)


class TestSpinsOnWakes(BrokerCase):
    must_fail = "test_many_wakes_end_few_receives"

    class broker_class(Odd):
        class consumer_class(MemoryConsumer):
            def wake(self) -> None:
                self._bell.put(True)


class TestTakesWithLimitNought(BrokerCase):
    must_fail = "test_limit_0_takes_nothing"

    class broker_class(Odd):
        class consumer_class(MemoryConsumer):
            def receive(self, limit: int, timeout: float | None) -> list[Delivery]:
                return super().receive(limit or 1, timeout)


class TestAcksForOthers(BrokerCase):
    must_fail = "test_what_it_does_not_hold_is_passed_over"

    class broker_class(Odd):
        class consumer_class(MemoryConsumer):
            def ack(self, deliveries: Sequence[Delivery]) -> None:
                super().ack(deliveries)
                for delivery in deliveries:
                    for other in list(self._store.leases):
                        if isinstance(other, MemoryConsumer):
                            other._held.pop(delivery.tag, None)


class TestSaysNothingOfRedelivery(BrokerCase):
    must_fail = "test_reject_with_requeue_brings_it_back"

    class broker_class(Odd):
        class consumer_class(MemoryConsumer):
            def receive(self, limit: int, timeout: float | None) -> list[Delivery]:
                found = super().receive(limit, timeout)
                for delivery in found:
                    delivery.redelivered = False
                return found


class TestDeliversTooEarly(BrokerCase):
    must_fail = "test_a_delayed_message_comes_when_due"

    class broker_class(Odd):
        def publish(self, messages: Sequence[Message], *, timeout: float = 5.0) -> None:
            super().publish([Message(one.body, one.routing_key, one.exchange) for one in messages])


class TestNeverReturnsALease(BrokerCase):
    must_fail = "test_what_a_silent_consumer_held_comes_back"

    class broker_class(Odd):
        class consumer_class(MemoryConsumer):
            def expire(self, now: float) -> set[Any]:
                return set()


class TestNeverDoubts(BrokerCase):
    must_fail = "test_a_silent_consumer_learns_what_it_has_lost"

    class broker_class(Odd):
        class consumer_class(MemoryConsumer):
            in_doubt = False


class TestDoubtsForNothing(BrokerCase):
    must_fail = "test_a_consumer_that_keeps_its_lease_is_not_in_doubt"

    class broker_class(Odd):
        class consumer_class(MemoryConsumer):
            in_doubt = True


class TestMissesNothing(BrokerCase):
    must_fail = "test_a_silent_consumer_learns_what_it_has_lost"

    class broker_class(Odd):
        class consumer_class(MemoryConsumer):
            def missing(self, deliveries: Sequence[Delivery]) -> Sequence[Delivery]:
                super().missing(deliveries)
                return []


class TestForgetsWhoItWas(BrokerCase):
    must_fail = "test_a_hold_goes_on_under_its_identity"

    class broker_class(Odd):
        class consumer_class(MemoryConsumer):
            identity = "always the same"


class TestDoesNotExtend(BrokerCase):
    must_fail = "test_extend_keeps_the_hold"

    class broker_class(Odd):
        class consumer_class(MemoryConsumer):
            def extend(self, deliveries: Sequence[Delivery]) -> None:
                pass


class TestCountsHeldMessages(BrokerCase):
    must_fail = "test_size_leaves_out_held_messages"

    class broker_class(Odd):
        def size(self, queues: Sequence[str], *, timeout: float = 5.0) -> dict[str, int]:
            held = [entry.queue for one in self._consumers for entry in one._held]
            return {name: count + held.count(name) for name, count in super().size(queues).items()}


class TestTellsThePassword(BrokerCase):
    must_fail = "test_unreachable_is_said_in_time_and_keeps_the_password"

    @pytest.fixture
    def make_unreachable(self) -> Callable[[], MemoryBroker]:
        class Unreachable(Odd):
            def connect(self, *, timeout: float) -> None:
                raise OperationalError(f"cannot reach {self.url} as {self.url.raw}")

        return lambda: Unreachable(URL.parse("memory://user:s3cr3t@nowhere"))


class TestWaitsTooLong(BrokerCase):
    must_fail = "test_a_short_timeout_is_kept"

    class broker_class(Odd):
        class consumer_class(MemoryConsumer):
            def receive(self, limit: int, timeout: float | None) -> list[Delivery]:
                return super().receive(limit, timeout and timeout + 1.2)
