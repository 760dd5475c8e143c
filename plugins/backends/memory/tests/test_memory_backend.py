"""What the memory backend has of its own: named stores, and a clock that is handed in."""

from __future__ import annotations

import itertools

import pytest

from umbel_backend_memory import MemoryBackend
from umbel_backend_memory.store import SWEEP_FIRST
from umbel_kernel.spi.backend import CHORD_CLAIM, ChordPart, Record
from umbel_kernel.url import URL
from umbel_testkit.backend import BackendConformance, json_state_of

_stores = itertools.count()
count = BackendConformance.count


class Clock:
    """A clock that moves when it is told to."""

    now = 1000.0

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def backend(clock: Clock) -> MemoryBackend:
    return MemoryBackend(URL.parse(f"memory://test-{next(_stores)}"), state_of=json_state_of, clock=clock)


def done(task_id: str, expires: float | None = None) -> Record:
    return Record(task_id, "SUCCESS", b'{"status": "SUCCESS"}', expires=expires)


def test_one_path_is_one_store() -> None:
    one, same, other = (
        MemoryBackend(URL.parse(text), state_of=json_state_of) for text in ("memory://a", "memory://a/", "memory://b")
    )
    one.store([done("t")])
    assert list(same.fetch(["t"])) == ["t"]
    assert other.fetch(["t"]) == {}
    one.forget(["t"])


def test_expiry_goes_by_the_clock(backend: MemoryBackend, clock: Clock) -> None:
    backend.store([done("brief", 10.0), done("forever")])
    backend.store_group("group", b"[]", expires=10.0)
    count(backend, ChordPart("chord", 0, 2, "t", "SUCCESS", b"old", 10.0))
    clock.now += 9.9
    assert len(backend.fetch(["brief", "forever"])) == 2
    assert backend.fetch_group("group") == b"[]"
    clock.now += 0.1
    assert list(backend.fetch(["brief", "forever"])) == ["forever"]
    assert backend.fetch_group("group") is None
    assert count(backend, ChordPart("chord", 1, 2, "t", "SUCCESS", b"new", 10.0)) is None


def test_an_expired_success_is_no_first_success(backend: MemoryBackend, clock: Clock) -> None:
    backend.store([done("t", 10.0)])
    clock.now += 11
    backend.store([Record("t", "STARTED", b'{"status": "STARTED"}')])
    assert backend.fetch(["t"])["t"].state == "STARTED"


def test_what_has_expired_leaves_the_memory(backend: MemoryBackend, clock: Clock) -> None:
    for number in range(4):
        backend.store([done(f"{number}-{index}", 10.0) for index in range(SWEEP_FIRST)])
        clock.now += 11
    assert len(backend._store.records) <= 2 * SWEEP_FIRST
    backend.cleanup()
    assert len(backend._store.records) == 0


def test_waiting_leaves_nothing_behind(backend: MemoryBackend) -> None:
    assert backend.wait(["a", "b"], timeout=0) == {}
    backend.store([done("a")])
    assert list(backend.wait(["a", "b"], timeout=None)) == ["a"]
    assert backend._store.waiting == {}


def test_a_reader_cannot_change_what_is_kept(backend: MemoryBackend) -> None:
    record = done("t")
    backend.store([record])
    record.state = "FAILURE"
    backend.fetch(["t"])["t"].state = "REVOKED"
    assert backend.fetch(["t"])["t"].state == "SUCCESS"


def test_who_completed_a_chord_has_it_alone_for_a_while(backend: MemoryBackend, clock: Clock) -> None:
    first, last = (ChordPart("claimed", index, 2, "t", "SUCCESS", b"%d" % index, 60.0) for index in range(2))
    assert (count(backend, first), count(backend, last)) == (None, [b"0", b"1"])
    clock.now += CHORD_CLAIM - 0.1
    assert count(backend, first) is None
    clock.now += 0.1
    assert count(backend, first) == [b"0", b"1"]
