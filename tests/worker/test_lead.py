"""Somebody always turns the loop, and never two at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from queue import Empty, SimpleQueue
from typing import Any

import pytest

from umbel.worker import lead as lead_module
from umbel.worker.lead import Lead
from umbel.worker.shutdown import Ending, Shutdown
from umbel_kernel.errors import OperationalError
from umbel_testkit.waiting import eventually


class Turning:
    """A loop that waits in each turn until it is nudged, and knows who turned it."""

    def __init__(self) -> None:
        self.shutdown = Shutdown()
        self.busy = self.wants_other = False
        self.by: list[str] = []
        self.within: list[str] = []
        self.overlaps = 0
        self.error: BaseException | None = None
        self._nudges: SimpleQueue[None] = SimpleQueue()

    def turn(self, *, leads: bool = False) -> None:
        me = threading.current_thread().name
        assert leads == (me != "own")
        self.overlaps += bool(self.within)
        self.within.append(me)
        try:
            if self.error is not None:
                raise self.error
            self._nudges.get(timeout=10)
        except Empty:
            raise AssertionError("nobody ended a turn") from None
        finally:
            self.within.remove(me)
            self.by.append(me)

    def nudge(self) -> None:
        self._nudges.put(None)


class Stage:
    """A ``Lead`` whose own thread runs."""

    def __init__(self) -> None:
        self.loop = Turning()
        self.woken = 0
        self.roused = 0
        self.lead = Lead(self._wake)
        self.raised: list[BaseException] = []
        self.thread = threading.Thread(target=self._run, name="own", daemon=True)

    def _wake(self) -> None:
        self.woken += 1

    def _rouse(self) -> None:
        self.roused += 1

    def _run(self) -> None:
        try:
            self.lead.run(self.loop, self._rouse)
        except BaseException as error:
            self.raised.append(error)

    def pool(self, target: Callable[[], Any]) -> threading.Thread:
        thread = threading.Thread(target=target, name="pool", daemon=True)
        thread.start()
        return thread

    def end(self) -> None:
        self.loop.shutdown.ending = Ending.WARM
        self.loop.nudge()
        self.lead.ring()
        self.thread.join(10)
        assert not self.thread.is_alive()


@pytest.fixture
def stage() -> Iterator[Stage]:
    made = Stage()
    yield made
    if made.thread.is_alive():
        made.end()
    assert not made.loop.overlaps


def test_nobody_leads_before_the_loop_runs_and_after(stage: Stage) -> None:
    assert not stage.lead.take()
    stage.lead.done()
    assert stage.woken == 1
    stage.thread.start()
    eventually(lambda: stage.roused == 1, within=5, what="the pool is told")
    stage.end()
    assert not stage.lead.take()


def test_the_loops_own_thread_leads_when_nobody_else_does(stage: Stage) -> None:
    stage.thread.start()
    eventually(lambda: stage.loop.within == ["own"], within=5, what="the own thread leads")


def test_a_thread_of_the_pool_that_comes_back_is_let_lead(stage: Stage) -> None:
    stage.thread.start()
    eventually(lambda: stage.loop.within == ["own"], within=5, what="the own thread leads")
    thread = stage.pool(stage.lead.take)
    eventually(lambda: stage.loop.within == ["pool"], within=5, what="the pool leads")
    time.sleep(0.05)
    assert stage.loop.within == ["pool"]
    assert not stage.lead.take(), "a second thread of the pool leads as well"
    stage.loop.nudge()
    thread.join(5)
    eventually(lambda: stage.loop.within == ["own"], within=5, what="the own thread leads again")


def test_an_outcome_wakes_who_leads(stage: Stage) -> None:
    stage.thread.start()
    eventually(lambda: stage.loop.within == ["own"], within=5, what="the own thread leads")
    stage.lead.done()
    eventually(lambda: stage.loop.by == ["own"], within=5, what="the turn ends")


@pytest.mark.parametrize("by", ["own", "pool"])
def test_an_error_of_a_turn_comes_out_of_run(stage: Stage, by: str) -> None:
    if by == "own":
        stage.loop.error = OperationalError("gone")
        stage.thread.start()
    else:
        stage.thread.start()
        eventually(lambda: stage.loop.within == ["own"], within=5, what="the own thread leads")
        thread = stage.pool(stage.lead.take)
        eventually(lambda: stage.loop.within == ["pool"], within=5, what="the pool leads")
        stage.loop.error = OperationalError("gone")
        stage.loop.nudge()
        thread.join(5)
        taken: list[bool] = []
        stage.pool(lambda: taken.append(stage.lead.take())).join(5)
        assert taken == [False]
    stage.thread.join(5)
    assert [str(error) for error in stage.raised] == ["gone"]


def test_it_sleeps_while_a_thread_of_the_pool_waits_and_wakes_when_that_one_has_work(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lead_module, "QUIET", 3)
    stage.thread.start()
    thread = stage.pool(stage.lead.take)
    eventually(lambda: stage.lead._asleep, within=5, what="the own thread sleeps")
    stage.loop.busy = True
    stage.loop.nudge()
    thread.join(5)
    eventually(lambda: stage.loop.within == ["own"], within=5, what="the own thread leads while the pool is busy")


def test_many_threads_take_turns_and_none_is_alone(stage: Stage) -> None:
    stage.thread.start()
    end = time.monotonic() + 1.0
    turned = threading.Semaphore(0)

    def work() -> None:
        while time.monotonic() < end:
            if stage.lead.take():
                turned.release()
            else:
                time.sleep(0.0005)

    threads = [stage.pool(work) for _ in range(5)]
    while time.monotonic() < end:
        stage.loop.nudge()
        time.sleep(0.0002)
    stage.loop.nudge()
    for _ in range(10):
        stage.loop.nudge()
    for thread in threads:
        thread.join(5)
        assert not thread.is_alive()
    assert turned.acquire(timeout=1)
    assert "pool" in stage.loop.by
