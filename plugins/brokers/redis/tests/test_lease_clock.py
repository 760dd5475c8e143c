"""The lease as its holder counts it, on a clock that is set by hand."""

from __future__ import annotations

from umbel_broker_redis.layout import Layout
from umbel_broker_redis.lease import Lease


class Hand:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def made(identity: str = "") -> tuple[Lease, Hand]:
    clock = Hand()
    return Lease(Layout({"global_keyprefix": "p."}, 0), 9.0, name="w", identity=identity, now=clock), clock


def test_each_has_a_name_of_its_own_under_the_prefix() -> None:
    one, other = made()[0], made()[0]
    assert one.identity != other.identity
    assert one.identity.startswith("w.")
    assert one.key == f"p.umbel.unacked.{one.identity}"
    assert made("earlier")[0].identity == "earlier"


def test_it_is_over_after_its_length_and_due_after_a_third() -> None:
    lease, clock = made()
    assert lease.due == 103.0
    clock.now = 109.0
    assert not lease.over
    clock.now = 109.1
    assert lease.over
    lease.renewed(109.1, lapsed=False, holds=False)
    assert not lease.over
    assert lease.due == 112.1


def test_it_counts_from_when_a_renewal_was_sent_not_from_its_answer() -> None:
    lease, clock = made()
    clock.now = 108.0
    lease.renewed(102.0, lapsed=False, holds=True)
    clock.now = 111.5
    assert lease.over
    lease.renewed(101.0, lapsed=False, holds=True)  # an answer that was overtaken
    assert lease.last == 102.0


def test_a_renewal_that_came_too_late_does_not_hide_it() -> None:
    lease, clock = made()
    clock.now = 120.0
    lease.renewed(120.0, lapsed=False, holds=True)
    assert lease.over
    lease.trust()
    assert not lease.over


def test_what_the_server_says_counts_where_the_own_clock_stood_still() -> None:
    lease, _ = made()
    lease.renewed(100.5, lapsed=True, holds=True)
    assert lease.over
    lease.trust()
    lease.renewed(101.0, lapsed=True, holds=False)
    assert not lease.over, "nothing was held that could be lost"
