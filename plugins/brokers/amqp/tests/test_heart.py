"""Signs of life, tick by tick, without a server and without waiting."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from umbel_broker_amqp.heart import Heart, Pulse


class Patient:
    """A connection that notes what is done with it."""

    def __init__(self) -> None:
        self.sent = 0
        self.heard = 0
        self.done: list[str] = []

    def traffic(self) -> tuple[int, object]:
        return self.sent, self.heard

    def beat(self) -> None:
        self.sent += 1
        self.done.append("beat")

    def ask(self) -> None:
        self.sent += 1
        self.done.append("ask")

    def give_up(self, reason: str) -> None:
        self.done.append(reason)


def ticks(pulse: Pulse, patient: Patient, count: int) -> list[str]:
    """Let so many ticks pass; returns what was done in them."""
    patient.done.clear()
    for _ in range(count):
        pulse.tend(0.0)
    return list(patient.done)


def test_a_silent_server_is_asked_and_then_given_up_within_15_seconds() -> None:
    patient = Patient()
    pulse = Pulse(patient, 60.0, asks=True)
    done: list[str] = []
    seconds = pulse.tick  # the silence may have begun a whole tick before it is seen
    while not any("silent" in each for each in done):
        seconds += pulse.tick
        done = [*done, *ticks(pulse, patient, 1)]
        assert seconds < 15
    assert done[:-1] == ["ask"] * (len(done) - 1)
    assert len(done) >= 4


def test_an_answer_to_the_question_is_enough() -> None:
    patient = Patient()
    pulse = Pulse(patient, 60.0, asks=True)
    for _ in range(100):
        done = ticks(pulse, patient, 2)
        assert set(done) <= {"ask", "beat"}
        patient.heard += 1
    assert not any("silent" in each for each in patient.done)


def test_a_server_that_talks_is_sent_heartbeats_in_time() -> None:
    patient = Patient()
    pulse = Pulse(patient, 60.0, asks=True)
    beats = 0
    for _ in range(int(60 / pulse.tick) * 3):
        patient.heard += 1
        beats += ticks(pulse, patient, 1).count("beat")
    assert 6 <= beats <= 12


def test_who_sends_needs_no_heartbeats() -> None:
    patient = Patient()
    pulse = Pulse(patient, 6.0, asks=False)
    for _ in range(30):
        patient.sent += 1
        patient.heard += 1
        assert ticks(pulse, patient, 1) == []


@pytest.mark.parametrize("interval", [1.0, 2.0, 5.0])
def test_a_short_heartbeat_is_kept(interval: float) -> None:
    for asks in (True, False):
        patient = Patient()
        pulse = Pulse(patient, interval, asks=asks)
        seconds = 0.0
        done: list[str] = []
        while not any("silent" in each for each in done):
            seconds += pulse.tick
            done += ticks(pulse, patient, 1)
            assert seconds < 3 * interval + 1
        assert seconds > 1.5 * interval
        assert pulse.tick <= interval / 3


def test_a_connection_that_nobody_has_is_forgotten() -> None:
    patient = Patient()
    pulse = Pulse(patient, 60.0, asks=True)
    del patient
    pulse.tend(0.0)


def _hearts() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "umbel-amqp-heartbeat"}


def test_one_thread_tends_all_and_survives_what_they_raise(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Patient):
        def beat(self) -> None:
            raise RuntimeError("no beat")

    heart = Heart()
    broken, well = Broken(), Patient()
    others = _hearts()
    heart.keep(broken, 0.05, asks=False)
    heart.keep(well, 0.05, asks=False)
    assert len(_hearts() - others) == 1
    end = time.monotonic() + 20
    while well.done.count("beat") < 3:
        well.heard += 1
        assert time.monotonic() < end
        time.sleep(0.005)
    assert "cannot be kept alive" in caplog.text
    heart.drop(broken)
    heart.drop(well)
    heart._changed.set()
    while _hearts() - others:
        assert time.monotonic() < end
        time.sleep(0.005)
    again: Any = Patient()
    heart.keep(again, 0.05, asks=False)
    assert len(_hearts() - others) == 1
    heart.drop(again)
    heart._changed.set()
