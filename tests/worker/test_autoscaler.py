"""The autoscaler: grows at once, shrinks late, stays within its limits."""

from __future__ import annotations

import time
from typing import Any

import pytest

from umbel import Umbel
from umbel.model.exceptions import ConfigurationError
from umbel.worker.autoscaler import Autoscaler
from umbel_kernel.errors import PoolError


class Sized:
    """A pool of which only the size matters."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.stuck = False

    def grow(self, count: int = 1) -> None:
        if self.stuck:
            raise PoolError("the system has no more")
        self.size += count

    def shrink(self, count: int = 1) -> None:
        self.size -= count


class Scaled:
    """An autoscaler and the load it sees."""

    def __init__(self, clock: Any, most: int, least: int) -> None:
        self.clock, self.load = clock, 0
        self.pool: Any = Sized(max(least, 1))
        self.scaler = Autoscaler(self.pool, most, least, load=lambda: self.load, keepalive=30, clock=clock)

    def look(self, load: int, seconds: float = 1.0) -> int:
        """Let time go by under a load; returns the size of the pool after a look."""
        self.load = load
        self.clock.now += seconds
        self.scaler.maybe_scale()
        return int(self.pool.size)


@pytest.fixture
def scaled(clock: Any) -> Scaled:
    return Scaled(clock, 10, 2)


def test_it_grows_at_once_and_no_further_than_it_may(scaled: Scaled) -> None:
    assert [scaled.look(load) for load in (0, 1, 3, 7, 50, 50)] == [2, 2, 3, 7, 10, 10]


def test_it_shrinks_after_a_while_without_growth(scaled: Scaled) -> None:
    assert scaled.look(8) == 8
    assert scaled.look(3, 29) == 8
    assert scaled.look(3, 2) == 3
    assert scaled.look(0, 31) == 2


def test_a_load_that_comes_and_goes_does_not_shake_the_pool(scaled: Scaled) -> None:
    sizes = {scaled.look(8 if turn % 20 == 0 else 0) for turn in range(200)}
    assert sizes == {8}


def test_a_pool_that_cannot_grow_is_told_and_asked_again(scaled: Scaled, caplog: Any) -> None:
    scaled.pool.stuck = True
    assert scaled.look(5) == 2
    assert "the pool stays at 2: the system has no more" in caplog.text
    scaled.pool.stuck = False
    assert scaled.look(5) == 5


def test_its_limits_can_be_changed(scaled: Scaled) -> None:
    scaled.look(10)
    assert scaled.scaler.update(4) == (4, 2)
    assert scaled.look(10, 31) == 4
    assert scaled.scaler.update(least=3) == (4, 3)
    assert scaled.look(0, 31) == 3
    with pytest.raises(ConfigurationError, match="between 3 and 2"):
        scaled.scaler.update(2)
    assert scaled.scaler.info() == {"max": 4, "min": 3, "current": 3, "qty": 0}


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_real_pool_grows_under_load_and_shrinks_after_it(
    pool: str, app_on_sqlite: Any, running: Any, monkeypatch: Any
) -> None:
    monkeypatch.setenv("AUTOSCALE_KEEPALIVE", "1")
    app = app_on_sqlite
    app.task(name="nap")(time.sleep)
    worker = running(app, pool=pool, autoscale=(4, 1), prefetch_multiplier=1)
    assert worker.context.pool.size == 1
    sent = [app.send_task("nap", (0.5,)) for _ in range(20)]
    sizes = set()
    for result in sent:
        result.get(timeout=30)
        sizes.add(worker.context.pool.size)
    assert max(sizes) == 4
    end = time.monotonic() + 20
    while worker.context.pool.size > 1 and time.monotonic() < end:
        time.sleep(0.05)
    assert worker.context.pool.size == 1
    assert app.send_task("nap", (0,)).get(timeout=20) is None


def test_a_class_of_ones_own(app: Umbel, running: Any) -> None:
    class Eager(Autoscaler):
        def wanted(self) -> int:
            return self.most

    app.conf.worker_autoscaler = Eager
    worker = running(app, autoscale=(3, 1))
    end = time.monotonic() + 10
    while worker.context.pool.size < 3 and time.monotonic() < end:
        time.sleep(0.02)
    assert worker.context.pool.size == 3
    assert isinstance(worker.context.autoscaler, Eager)


def test_a_pool_of_one_size_is_refused(app: Umbel, running: Any) -> None:
    with pytest.raises((AssertionError, ConfigurationError), match="'solo' cannot change its size"):
        running(app, pool="solo", autoscale=(3, 1))
