"""How many tasks are held, by how long they take."""

from __future__ import annotations

from typing import Any

from umbel.worker.pace import MOST, STALL, Pace


def test_nothing_is_held_ahead_before_a_task_has_ended() -> None:
    assert Pace().ahead(10) == 0


def test_a_few_short_tasks_say_little() -> None:
    pace = Pace()
    for count in range(1, 6):
        pace.ended(0.00001)
        assert pace.ahead(1) == count


def test_no_more_than_the_most_is_held() -> None:
    pace = Pace()
    for _ in range(5000):
        pace.ended(0.000001)
    assert pace.ahead(8) == MOST


def test_one_long_task_among_many_short_ones_makes_it_careful_at_once() -> None:
    pace = Pace()
    for _ in range(5000):
        pace.ended(0.00001)
    pace.ended(1.0)
    assert pace.ahead(1) == 0
    for _ in range(200):
        pace.ended(0.00001)
    assert pace.ahead(1) > 100


def test_tasks_stall_when_none_ends(clock: Any) -> None:
    pace = Pace(clock.monotonic)
    pace.move()
    clock.now += STALL / 2
    assert pace.stalls_in() > 0
    clock.now += STALL
    assert pace.stalls_in() <= 0
    pace.move()
    assert pace.stalls_in() > 0
    for _ in range(1000):
        pace.ended(0.00001)
    pace.stall()
    assert pace.ahead(1) == 0
