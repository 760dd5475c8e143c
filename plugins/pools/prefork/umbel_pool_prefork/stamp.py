"""The memory that the pool shares with its children, a few words for each."""

from __future__ import annotations

import mmap
import threading

from umbel_kernel.errors import PoolError

_SINCE, _BEGUN, _RUNS, _VOID, _SOFT, _UNWANTED = range(6)
_WORDS = 6

SIZE = 64
"""Bytes a stamp takes: a cache line, so that children do not slow each other down."""

MOST = 65536
"""How many children there can be at once. Memory is taken by the page, as stamps are used."""


class Stamps:
    """The stamps of all children, in memory that every fork shares."""

    def __init__(self, most: int = MOST) -> None:
        self._map = mmap.mmap(-1, most * SIZE)
        self._most = most
        self._fresh = 0
        self._free: list[int] = []

    def take(self) -> tuple[int, Stamp]:
        """In the pool: a stamp that nobody uses, all zero, and its place.

        Raises:
            PoolError: all are used.
        """
        if self._free:
            place = self._free.pop()
        elif self._fresh < self._most:
            place = self._fresh
            self._fresh += 1
        else:
            raise PoolError(f"a pool has at most {self._most} processes")
        stamp = self.at(place)
        stamp.words[0:_WORDS] = _ZEROS
        return place, stamp

    def give_back(self, place: int) -> None:
        """In the pool: the child at a place has ended."""
        self._free.append(place)

    def at(self, place: int) -> Stamp:
        """The stamp at a place."""
        return Stamp(memoryview(self._map)[place * SIZE : (place + 1) * SIZE])


class Stamp:
    """Says what a child runs and since when, and which staged jobs it must not begin; no system call, no lock.

    A child numbers the jobs that it reads from its socket 1, 2, 3, …, and so does the pool as it writes them. Each word
    of it has one writer:

    ========  ======  =================================================
    word      writer  meaning
    ========  ======  =================================================
    since     child   monotonic time at which the last job begun began
    begun     child   number of the last job begun
    runs      child   number of the last job begun that it did not pass over
    void      pool    jobs up to this number that have not begun must not
    soft      pool    number of the job whose soft limit is up
    unwanted  pool    number of the last job that nobody wants any more
    ========  ======  =================================================

    Whether a job is begun or taken back is decided as in Dekker's algorithm: the child writes ``begun`` and then reads
    ``void``; the pool writes ``void`` and then reads ``begun``; each side has a full memory barrier between its write
    and its read. So they cannot both miss the other, and a job is never both run and taken back. Both can see the
    other and yield: therefore the child reports each job that it passed over, and the pool takes back those that it
    took for begun. Nobody is told that a job has begun before the child says that it ``runs``.
    """

    def __init__(self, line: memoryview) -> None:
        self.words = line.cast("Q")
        self.times = line.cast("d")
        self._barrier = threading.Lock()

    def begin(self, number: int, now: float) -> bool:
        """In the child: a job is about to begin. Returns False when it was taken back and must not."""
        self.times[_SINCE] = now
        self.words[_BEGUN] = number
        self.fence()
        if self.words[_VOID] >= number:
            return False
        self.words[_RUNS] = number
        return True

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

    @property
    def runs(self) -> int:
        """Number of the last job begun that was not passed over. All before it have been reported."""
        return self.words[_RUNS]

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

    @property
    def unwanted(self) -> int:
        """Number of the last job that nobody wants any more."""
        return self.words[_UNWANTED]

    @unwanted.setter
    def unwanted(self, number: int) -> None:
        self.words[_UNWANTED] = number

    def fence(self) -> None:
        """A full memory barrier: taking and freeing a lock is an atomic read-modify-write on every platform."""
        self._barrier.acquire()
        self._barrier.release()


_ZEROS = memoryview(bytes(8 * _WORDS)).cast("Q")
