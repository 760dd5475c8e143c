"""The remote debugger, as somebody uses it from afar."""

from __future__ import annotations

import bdb
import io
import socket
import threading
from typing import Any

import pytest

from umbel.contrib import rdb


class Debugged:
    """A function that stops at a debugger in a thread, and what came of it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CELERY_RDB_PORT", str(free_port()))
        self.out = io.StringIO()
        self.value: Any = None
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        try:
            secret = 41
            rdb.debugger(out=self.out, timeout=20).set_trace()
            secret += 1
            self.value = secret
        except BaseException as error:
            self.error = error

    def session(self, *words: str) -> str:
        """Connect, say these words and hang up; returns all that was answered."""
        self._thread.start()
        while ": telnet 127.0.0.1 " not in self.out.getvalue():
            self._thread.join(0.01)
            assert self._thread.is_alive()
        port = int(self.out.getvalue().split()[-1])
        with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
            connection.sendall("".join(f"{word}\n" for word in words).encode())
            connection.shutdown(socket.SHUT_WR)
            answer = connection.makefile().read()
        self._thread.join(20)
        assert not self._thread.is_alive()
        return answer


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def debugged(monkeypatch: pytest.MonkeyPatch) -> Debugged:
    return Debugged(monkeypatch)


def test_one_looks_around_and_lets_it_go_on(debugged: Debugged) -> None:
    answer = debugged.session("p secret", "n", "p secret * 10", "c")
    assert "(rdb) 41\n" in answer
    assert "(rdb) 420\n" in answer
    assert debugged.value == 42


def test_one_ends_what_is_debugged(debugged: Debugged) -> None:
    debugged.session("q")
    assert isinstance(debugged.error, bdb.BdbQuit)


def test_it_goes_on_when_one_hangs_up(debugged: Debugged) -> None:
    debugged.session("p secret")
    assert debugged.value == 42


def test_the_next_port_is_taken_when_one_is_in_use(debugged: Debugged, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        monkeypatch.setenv("CELERY_RDB_PORT", str(other.getsockname()[1]))
        debugged.session("c")
    assert debugged.value == 42


def test_it_waits_no_longer_than_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TimeoutError):
        rdb.Rdb(port=free_port(), out=io.StringIO(), timeout=0.05)


def test_it_says_when_there_is_no_port(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(OSError, match="no port from"):
            rdb.Rdb(port=other.getsockname()[1], port_search_limit=1)
