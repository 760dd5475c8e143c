"""A store with get, set, delete and a counter becomes a backend that keeps the contract."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence

import pytest

from umbel_client_keyvalue import KeyValueBackend
from umbel_kernel.url import URL
from umbel_testkit.backend import BackendConformance, json_state_of


class Shelf:
    """A dict with expiry, and a lock where a real store has its own."""

    def __init__(self) -> None:
        self.kept: dict[str, tuple[bytes, float]] = {}
        self.lock = threading.Lock()


class DictBackend(KeyValueBackend):
    """All that an author writes for a store such as this."""

    capabilities = KeyValueBackend.capabilities - {"shared"}
    shelf: Shelf

    def connect(self, *, timeout: float) -> None:
        pass

    def close(self) -> None:
        pass

    def get(self, keys: Sequence[str], *, timeout: float) -> list[bytes | None]:
        now = time.monotonic()
        with self.shelf.lock:
            found = [self.shelf.kept.get(key) for key in keys]
        return [value[0] if value is not None and value[1] > now else None for value in found]

    def set(self, values: Mapping[str, bytes], *, expires: float | None, timeout: float) -> None:
        until = float("inf") if expires is None else time.monotonic() + expires
        with self.shelf.lock:
            self.shelf.kept.update({key: (value, until) for key, value in values.items()})

    def delete(self, keys: Sequence[str], *, timeout: float) -> None:
        with self.shelf.lock:
            for key in keys:
                self.shelf.kept.pop(key, None)

    def increment(self, key: str, *, expires: float | None, timeout: float) -> int:
        with self.shelf.lock:
            count = int(self.shelf.kept.get(key, (b"0", 0.0))[0]) + 1
            self.shelf.kept[key] = (b"%d" % count, float("inf"))
        return count


def make(shelf: Shelf, **more: Callable[..., float]) -> DictBackend:
    backend = DictBackend(URL.parse("dict://"), state_of=json_state_of, **more)  # type: ignore[arg-type]
    backend.shelf = shelf
    return backend


class TestKeyValueBackend(BackendConformance):
    quiet = 0.05
    brief = 0.2

    @pytest.fixture
    def make_backend(self) -> Callable[[], DictBackend]:
        shelf = Shelf()
        return lambda: make(shelf)


def test_polling_gets_slower_up_to_a_limit_and_keeps_the_timeout() -> None:
    class Clock:
        now = 100.0

        def time(self) -> float:
            return self.now

        def monotonic(self) -> float:
            return self.now

    clock, slept = Clock(), []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        clock.now += seconds

    backend = DictBackend(URL.parse("dict://"), state_of=json_state_of, clock=clock, sleep=sleep)
    backend.shelf = Shelf()
    assert backend.wait(["missing"], timeout=30.0) == {}
    assert clock.now == pytest.approx(130.0)
    assert slept[0] == 0.001
    assert max(slept) == backend.poll_longest == 0.5
    assert len(slept) < 80


def test_keys_are_celerys() -> None:
    backend = make(Shelf())
    backend.store_group("g", b"[]", expires=None)
    backend.set({backend.task_prefix + "t": b'{"status": "SUCCESS"}'}, expires=None, timeout=1.0)
    assert sorted(backend.shelf.kept) == ["celery-task-meta-t", "celery-taskset-meta-g"]
    assert backend.fetch(["t"])["t"].state == "SUCCESS"
