"""The page of memory that the pool shares with one child."""

from __future__ import annotations

import mmap
import threading

_SINCE, _BEGUN, _VOID, _SOFT = range(4)


class Stamp:
    """Says what a child runs and since when, and which staged jobs it must not begin; no system call, no lock.

    A child numbers the jobs that it reads from its socket 1, 2, 3, …, and so does the pool as it writes them. Each word
    of the page has one writer:

    ======  ======  =================================================
    word    writer  meaning
    ======  ======  =================================================
    since   child   monotonic time at which the last job begun began
    begun   child   number of the last job begun
    void    pool    jobs up to this number that have not begun must not
    soft    pool    number of the job whose soft limit is up
    ======  ======  =================================================

    Whether a job is begun or taken back is decided as in Dekker's algorithm: the child writes ``begun`` and then reads
    ``void``; the pool writes ``void`` and then reads ``begun``; each side has a full memory barrier between its write
    and its read. So they cannot both miss the other, and a job is never both run and taken back. Both can see the
    other and yield: therefore the child reports each job that it passed over, and the pool takes back those that it
    took for begun.
    """

    def __init__(self) -> None:
        self._map = mmap.mmap(-1, mmap.PAGESIZE)
        self._view = memoryview(self._map)
        self.words = self._view.cast("Q")
        self.times = self._view.cast("d")
        self._barrier = threading.Lock()

    def begin(self, number: int, now: float) -> bool:
        """In the child: a job is about to begin. Returns False when it was taken back and must not."""
        self.times[_SINCE] = now
        self.words[_BEGUN] = number
        self.fence()
        return self.words[_VOID] < number

    def read(self) -> tuple[int, float]:
        """In the pool: number and time of the last job begun, of one and the same job."""
        while True:
            number = self.words[_BEGUN]
            since = self.times[_SINCE]
            if number == self.words[_BEGUN]:
                return number, since

    @property
    def begun(self) -> int:
        """Number of the last job begun."""
        return self.words[_BEGUN]

    def void(self, number: int) -> int:
        """In the pool: forbid jobs up to a number to begin. Returns the number up to which they have begun already."""
        self.words[_VOID] = number
        self.fence()
        return self.words[_BEGUN]

    @property
    def soft(self) -> int:
        """Number of the job whose soft limit is up."""
        return self.words[_SOFT]

    @soft.setter
    def soft(self, number: int) -> None:
        self.words[_SOFT] = number

    def fence(self) -> None:
        """A full memory barrier: taking and freeing a lock is an atomic read-modify-write on every platform."""
        self._barrier.acquire()
        self._barrier.release()

    def close(self) -> None:
        """Give the page back."""
        self.words.release()
        self.times.release()
        self._view.release()
        self._map.close()
