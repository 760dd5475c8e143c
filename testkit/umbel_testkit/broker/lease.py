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
