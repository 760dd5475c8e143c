"""The worker's timer."""

from __future__ import annotations

import threading
from typing import Any

from umbel.worker.timer import Timer


def test_entries_run_in_the_order_of_their_time(clock: Any) -> None:
    timer, ran = Timer(clock), []
    timer.call_after(3, ran.append, "three")
    timer.call_after(1, ran.append, "one")
    timer.call_after(2, ran.append, "two")
    assert timer.run_due() == 1
    clock.now += 2
    assert timer.run_due() == 1
    assert ran == ["one", "two"]
    clock.now += 5
    assert timer.run_due() is None
    assert ran == ["one", "two", "three"]


def test_a_repeated_entry_keeps_its_rhythm_and_does_not_catch_up(clock: Any) -> None:
    timer, ran = Timer(clock), []
    timer.call_repeatedly(10, ran.append, 1)
    clock.now += 10
    assert timer.run_due() == 10
    clock.now += 12
    assert timer.run_due() == 8
    clock.now += 1000
    timer.run_due()
    assert len(ran) == 3


def test_an_entry_that_adds_itself_again_does_not_hold_up_the_loop(clock: Any) -> None:
    timer, ran = Timer(clock), []

    def again() -> None:
        ran.append(1)
        timer.call_after(0, again)

    timer.call_after(0, again)
    timer.call_repeatedly(0, ran.append, 2)
    assert timer.run_due() == 0
    assert sorted(ran) == [1, 2]


def test_a_cancelled_entry_is_not_called_nor_waited_for(clock: Any) -> None:
    timer, ran = Timer(clock), []
    entry = timer.call_after(1, ran.append, 1)
    timer.call_after(5, ran.append, 2)
    entry.cancel()
    assert timer.run_due() == 5
    clock.now += 5
    timer.run_due()
    assert ran == [2]


def test_an_entry_that_cancels_itself_is_not_repeated(clock: Any) -> None:
    timer, ran = Timer(clock), []
    entry = timer.call_repeatedly(1, lambda: (ran.append(1), entry.cancel()))
    clock.now += 1
    assert timer.run_due() is None
    assert ran == [1]


def test_an_error_is_logged_and_keeps_nothing_from_running(clock: Any, caplog: Any) -> None:
    timer, ran = Timer(clock), []
    timer.call_repeatedly(1, lambda: 1 / 0)
    timer.call_after(1, ran.append, 1)
    clock.now += 1
    assert timer.run_due() == 1
    assert ran == [1]
    assert "ZeroDivisionError" in caplog.text


def test_the_loop_is_woken_for_an_entry_that_is_due_first(clock: Any) -> None:
    woken = []
    timer = Timer(clock, wake=lambda: woken.append(1))
    timer.call_after(5, int)
    timer.call_after(9, int)
    assert len(woken) == 1
    timer.call_after(1, int)
    assert len(woken) == 2


def test_entries_may_be_added_and_cleared_by_other_threads(clock: Any) -> None:
    timer, ran, stop = Timer(clock), [], threading.Event()

    def clear() -> None:
        while not stop.is_set():
            timer.clear()

    thread = threading.Thread(target=clear)
    thread.start()
    for _ in range(2000):
        timer.call_after(0, ran.append, 1)
        timer.run_due()
    stop.set()
    thread.join()
    timer.clear()
    assert len(timer) == 0
    assert ran
