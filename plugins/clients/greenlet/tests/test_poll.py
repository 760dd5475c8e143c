"""``select.poll`` for greenlets, on gevent's hub."""

from __future__ import annotations

import os
import select
import socket
import time
from collections.abc import Iterator

import gevent
import pytest

from umbel_client_greenlet.poll import Poll
from umbel_pool_gevent.hub import GeventHub


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def test_it_looks_without_giving_way(pipe: tuple[int, int]) -> None:
    ran: list[int] = []
    gevent.spawn(ran.append, 1)
    poll = Poll(GeventHub())
    poll.register(pipe[0], select.POLLIN)
    assert poll.poll(0) == []
    os.write(pipe[1], b"x")
    assert poll.poll(0) == poll.poll(60_000) == poll.poll() == [(pipe[0], select.POLLIN)]
    assert ran == []


def test_it_waits_while_others_run(pipe: tuple[int, int]) -> None:
    poll = Poll(GeventHub())
    poll.register(pipe[0], select.POLLIN)
    for _ in range(3):
        gevent.spawn_later(0.02, os.write, pipe[1], b"x")
        assert poll.poll() == [(pipe[0], select.POLLIN)]
        os.read(pipe[0], 1)


def test_it_keeps_its_time(pipe: tuple[int, int]) -> None:
    poll = Poll(GeventHub())
    poll.register(pipe[0], select.POLLIN)
    before = time.monotonic()
    assert poll.poll(50) == []
    assert 0.05 <= time.monotonic() - before < 5


def test_writing_and_changing_and_forgetting() -> None:
    one, other = socket.socketpair()
    poll = Poll(GeventHub())
    poll.register(one, select.POLLIN)
    assert poll.poll(0) == []
    poll.modify(one, select.POLLIN | select.POLLOUT)
    assert poll.poll(10) == [(one.fileno(), select.POLLOUT)]
    gevent.spawn_later(0.02, other.close)
    poll.modify(one, select.POLLIN)
    ((found, events),) = poll.poll(20_000)
    assert found == one.fileno()
    assert events & select.POLLIN
    poll.unregister(one)
    assert poll.poll(1) == []
    with pytest.raises(KeyError):
        poll.unregister(one)
    one.close()


def test_an_end_while_it_waits_leaves_nothing_behind(pipe: tuple[int, int]) -> None:
    poll = Poll(GeventHub())
    poll.register(pipe[0], select.POLLIN)
    waiting = gevent.spawn(poll.poll, 20_000)
    gevent.sleep(0.01)
    waiting.kill()
    os.write(pipe[1], b"x")
    gevent.sleep(0.01)
    assert waiting.dead
    assert poll.poll(0) == [(pipe[0], select.POLLIN)]
