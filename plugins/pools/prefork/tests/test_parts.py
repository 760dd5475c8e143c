"""Frames, the stamp, the pace, and words for deaths."""

from __future__ import annotations

import marshal
import pickle
import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umbel_kernel.errors import PoolError
from umbel_kernel.spi.pool import Job
from umbel_pool_prefork.death import exit_text, signal_number
from umbel_pool_prefork.frame import Frames, Kind, Said, pack_jobs, pack_report
from umbel_pool_prefork.pace import AHEAD, DEEPEST, Pace
from umbel_pool_prefork.stamp import Stamps


@given(st.lists(st.binary(max_size=200), max_size=8), st.lists(st.integers(1, 60), max_size=40))
def test_frames_come_out_whole_however_the_stream_is_cut(values: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(pack_report(Said.DONE, number, value, 0.5) for number, value in enumerate(values))
    frames, out, at = Frames(), [], 0
    for cut in [*cuts, len(stream)]:
        out += [marshal.loads(payload) for _, payload in frames.feed(stream[at : at + cut])]
        at += cut
    assert out == [(0, number, value, 0.5) for number, value in enumerate(values)]


def test_report_of_what_is_no_plain_data_is_refused() -> None:
    with pytest.raises(ValueError):
        pack_report(Said.DONE, 1, object())


def test_one_odd_job_does_not_make_the_others_pickled() -> None:
    jobs = [Job(1, b"a", {}), Job(2, b"b", {"kind": Said.DONE}), Job(3, b"c", {"f": lambda: None})]
    data, carried, refused = pack_jobs(jobs)
    assert [job.id for job in carried] == [1, 2]
    assert [job.id for job, _ in refused] == [3]
    kinds = []
    for kind, payload in Frames().feed(data):
        kinds.append(kind)
        ((number, *_),) = marshal.loads(payload) if kind == Kind.MARSHAL else pickle.loads(payload)
        assert number == len(kinds)
    assert kinds == [Kind.MARSHAL, Kind.PICKLE]


def test_stamp_gives_a_job_to_one_side_only() -> None:
    stamps = Stamps(2)
    place, stamp = stamps.take()
    assert stamp.begin(1, 5.0)
    assert stamp.read() == (1, 5.0)
    assert stamp.void(3) == 1
    assert not stamp.begin(2, 6.0)
    assert not stamp.begin(3, 6.0)
    assert (stamp.begun, stamp.runs) == (3, 1)
    assert stamp.begin(4, 7.5)
    assert stamp.read() == (4, 7.5)
    stamp.soft = 4
    assert stamp.soft == 4
    assert stamps.at(place).read() == (4, 7.5)


def test_stamps_are_used_again_and_do_not_touch_each_other() -> None:
    stamps = Stamps(2)
    (one, first), (other, second) = stamps.take(), stamps.take()
    assert first.begin(7, 1.5)
    assert (one, other, second.read(), stamps.at(one).read()) == (0, 1, (0, 0.0), (7, 1.5))
    with pytest.raises(PoolError, match="at most 2 processes"):
        stamps.take()
    stamps.give_back(one)
    again, third = stamps.take()
    assert (again, third.read(), third.void(0), third.soft) == (0, (0, 0.0), 0, 0)


def test_pace_is_careful_at_first_and_after_a_slow_job() -> None:
    pace = Pace()
    assert pace.depth == 1
    for _ in range(10):
        pace.add(0.000005 * 50, 50)
    assert pace.depth == DEEPEST
    pace.add(2.5, 50)
    assert pace.depth == 1
    for _ in range(200):
        pace.add(0.001, 1)
    assert pace.depth == pytest.approx(AHEAD / 0.001, abs=1)


@pytest.mark.parametrize(
    ("seconds", "depth", "patience"), [(0.004, 2, AHEAD), (0.01, 2, 0.02), (0.029, 2, 0.058), (0.031, 1, AHEAD)]
)
def test_middling_jobs_are_staged_in_twos(seconds: float, depth: int, patience: float) -> None:
    pace = Pace()
    for _ in range(300):
        pace.add(seconds, 1)
    assert pace.depth == depth
    assert pace.patience == pytest.approx(patience, rel=0.01)


@pytest.mark.parametrize("name", ["TERM", "SIGTERM", "term", "15"])
def test_signals_have_many_names(name: str) -> None:
    assert signal_number(name) == signal.SIGTERM


@pytest.mark.parametrize("name", ["", "NOPE", "SIG", "9999"])
def test_names_that_are_no_signals(name: str) -> None:
    with pytest.raises(ValueError):
        signal_number(name)


def test_deaths_have_words() -> None:
    assert exit_text(3) == "exit code 3"
    assert exit_text(-9) == "killed by SIGKILL"
    assert exit_text(-250) == "killed by signal 250"
    assert exit_text(None) == "an unknown exit code"
