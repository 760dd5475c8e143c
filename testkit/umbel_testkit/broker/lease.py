"""Leases: what a dead consumer held comes back, what a living one holds does not."""

from __future__ import annotations

import time

import pytest

from umbel_kernel.spi.broker import Broker, BrokerCapability
from umbel_kernel.spi.topology import Queue
from umbel_testkit.background import Background
from umbel_testkit.broker.case import BrokerCase, MakeBroker


class LeaseSuite(BrokerCase):
    """Leases."""

    @pytest.fixture
    def leased(self, broker: Broker, connect: MakeBroker) -> Broker:
        """A broker whose leases are short."""
        self.need(broker, BrokerCapability.LEASE)
        assert self.short_lease_options is not None, "a broker with LEASE has to give short_lease_options"
        return connect(**self.short_lease_options)

    def test_the_lease_is_told(self, broker: Broker, queue: Queue) -> None:
        lease = broker.consumer([queue]).lease
        if BrokerCapability.LEASE in broker.capabilities:
            assert lease is not None and lease > 0
        else:
            assert lease is None

    def test_extend_is_always_allowed(self, broker: Broker, queue: Queue) -> None:
        self.send(broker, queue, b"held")
        consumer = broker.consumer([queue])
        held = self.take(consumer, 1)
        consumer.extend([])
        Background(lambda: consumer.extend(held)).result(within=self.patience)
        consumer.ack(held)
        consumer.extend(held)
        self.nothing(consumer)

    def test_what_a_silent_consumer_held_comes_back(self, leased: Broker, queue: Queue) -> None:
        self.send(leased, queue, b"1", b"2")
        silent = leased.consumer([queue])
        assert silent.lease is not None and silent.lease <= 3.0, "short_lease_options have to make the lease short"
        held = self.take(silent, 2)
        other = leased.consumer([queue])
        self.nothing(other)
        found = self.take(other, 2)
        assert sorted(delivery.body for delivery in found) == [b"1", b"2"]
        assert all(delivery.redelivered for delivery in found)
        silent.ack(held)
        other.reject(found, requeue=True)
        again = self.take(other, 2)
        assert sorted(delivery.body for delivery in again) == [b"1", b"2"], "an ack after the lease dropped a message"
        other.ack(again)

    def test_a_silent_consumer_learns_what_it_has_lost(self, leased: Broker, queue: Queue) -> None:
        self.send(leased, queue, b"1", b"2")
        silent = leased.consumer([queue])
        held = self.take(silent, 2)
        assert not silent.in_doubt
        assert list(silent.missing(held)) == []
        other = leased.consumer([queue])
        found = self.take(other, 2)
        assert silent.in_doubt, "others have what it held, and it does not suspect anything"
        assert list(silent.missing(held)) == held
        assert not silent.in_doubt
        other.ack(found[:1])
        other.reject(found[1:], requeue=True)
        again = self.take(silent, 1)
        assert list(silent.missing([held[0], *again])) == held[:1]
        silent.ack(again)
        self.nothing(silent)

    def test_a_consumer_that_keeps_its_lease_is_not_in_doubt(self, leased: Broker, queue: Queue) -> None:
        self.send(leased, queue, b"1")
        holder = leased.consumer([queue])
        held = self.take(holder, 1)
        lease = holder.lease
        assert lease is not None
        end = time.monotonic() + 2 * lease
        while time.monotonic() < end:
            Background(lambda: holder.extend(held)).result(within=self.patience)
            time.sleep(lease / 4)
            assert not holder.in_doubt
        holder.ack(held)
        time.sleep(1.5 * lease)
        assert not holder.in_doubt, "it holds nothing that it could have lost"

    def test_nothing_is_missing_without_a_lease(self, broker: Broker, queue: Queue) -> None:
        self.send(broker, queue, b"1")
        consumer = broker.consumer([queue])
        held = self.take(consumer, 1)
        assert consumer.in_doubt is False
        assert list(consumer.missing(held)) == []
        consumer.ack(held)

    def test_a_hold_goes_on_under_its_identity(self, broker: Broker, connect: MakeBroker, queue: Queue) -> None:
        self.send(broker, queue, b"1", b"2", b"3")
        first = broker.consumer([queue])
        if not first.identity:
            second = broker.consumer([queue], identity="not known here")
            assert second.identity == ""
            return
        held = self.take(first, 3)
        second = connect().consumer([queue], identity=first.identity)
        assert second.identity == first.identity
        assert list(second.missing(held[:2])) == []
        found = self.take(second, 1)
        assert (found[0].body, found[0].redelivered) == (b"3", True), "what nobody knows of goes back"
        second.ack([*held[:2], *found])
        self.nothing(second)

    def test_extend_keeps_the_hold(self, leased: Broker, queue: Queue) -> None:
        self.send(leased, queue, b"long work")
        holder = leased.consumer([queue])
        held = self.take(holder, 1)
        other = leased.consumer([queue])
        lease = holder.lease
        assert lease is not None
        end = time.monotonic() + 2.5 * lease
        while time.monotonic() < end:
            Background(lambda: holder.extend(held)).result(within=self.patience)
            assert other.receive(1, lease / 4) == []
        holder.ack(held)
        holder.close()
        self.nothing(other)
