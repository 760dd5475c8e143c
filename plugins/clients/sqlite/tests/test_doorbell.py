"""Rings between processes and threads, and addresses at which nobody lives any more."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from umbel_client_sqlite import Doorbell, Ringer, doorbell
from umbel_testkit.child import run_forked
from umbel_testkit.waiting import Stopwatch


@pytest.fixture(params=["abstract", "file"])
def bell(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Doorbell]:
    """Of both kinds, wherever this runs and can make them."""
    if request.param == "file":
        monkeypatch.setattr(doorbell, "_ABSTRACT", False)
    elif not doorbell._ABSTRACT:
        pytest.skip("only Linux has abstract names")
    made = Doorbell()
    yield made
    made.close()


@pytest.fixture
def ringer() -> Iterator[Ringer]:
    made = Ringer()
    yield made
    made.close()


def test_a_ring_ends_a_wait_and_is_heard_once(bell: Doorbell, ringer: Ringer) -> None:
    threading.Timer(0.05, lambda: ringer.ring(bell.address)).start()
    with Stopwatch() as waited:
        assert bell.wait(20)
    assert waited.seconds < 5
    assert not bell.was_woken()
    assert not bell.wait(0)


def test_rings_before_the_wait_are_kept_as_one(bell: Doorbell, ringer: Ringer) -> None:
    assert [ringer.ring(bell.address) for _ in range(3)] == [True] * 3
    assert bell.wait(0)
    assert not bell.wait(0)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_another_process_rings(bell: Doorbell) -> None:
    def child() -> None:
        assert Ringer().ring(bell.address)

    run_forked(child, within=10)
    assert bell.wait(5)


def test_a_bell_that_nobody_answers_is_rung_without_end(bell: Doorbell, ringer: Ringer) -> None:
    """More rings than a socket keeps neither block nor call the waiter dead."""
    assert all(ringer.ring(bell.address) for _ in range(5000))
    assert bell.wait(0)


def test_nobody_lives_at_a_closed_bell(bell: Doorbell, ringer: Ringer) -> None:
    bell.close()
    bell.close()
    assert not ringer.ring(bell.address)
    bell.wake()


def test_wake_ends_a_wait_and_is_told_apart_from_a_ring(bell: Doorbell) -> None:
    threading.Timer(0.05, bell.wake).start()
    with Stopwatch() as waited:
        assert bell.wait(20)
    assert waited.seconds < 5
    assert bell.was_woken()
    assert not bell.was_woken()
    assert not bell.wait(0)
