"""What goes over the socket between the pool and a child, or the fork server: a length, a kind, and plain data.

A frame is four bytes of length (little-endian, of the payload), one byte of kind, and the payload. Only the two ends
of a private socket pair speak it, and both are one program.
"""

from __future__ import annotations

import enum
import marshal
import pickle
import struct
from collections.abc import Iterator, Sequence
from operator import attrgetter
from typing import Any

from umbel_kernel.errors import PoolError
from umbel_kernel.spi.pool import Job

HEADER = struct.Struct("<IB")
LARGEST = 2**32 - 1
MARSHAL_VERSION = 4

_fields = attrgetter("id", "body", "headers", "content_type", "content_encoding", "context", "soft_limit", "hard_limit")


class Kind(enum.IntEnum):
    """How a payload is written."""

    MARSHAL = 0
    PICKLE = 1


class Said(enum.IntEnum):
    """What a child reports; the first of the four parts of a report: what, number, value, seconds. The last three are
    the fork server's: of a child by number, its process id, why there is none, or its exit code.
    """

    DONE = 0
    FAILED = 1
    LOST = 2
    UP = 3
    READY = 4
    LEAVING = 5
    BROKEN = 6
    SKIPPED = 7
    BORN = 8
    BARREN = 9
    ENDED = 10


def pack_jobs(jobs: Sequence[Job]) -> tuple[bytes, list[Job], list[tuple[Job, PoolError]]]:
    """Frames for jobs.

    All go into one frame of ``marshal``. If one has something that marshal does not know, such as a ``datetime`` in its
    headers, each gets a frame of its own, and that one is pickled.

    Returns:
        The frames; the jobs in them; the jobs that cannot be carried at all, each with the reason.
    """
    try:
        return _frame(Kind.MARSHAL, marshal.dumps([_fields(job) for job in jobs], MARSHAL_VERSION)), list(jobs), []
    except (ValueError, PoolError):
        pass
    frames, sent, refused = [], [], []
    for job in jobs:
        try:
            frames.append(_pack_job(job))
        except Exception as error:
            said = f"job {job.id} cannot be carried to a child process: {type(error).__name__}: {error}"
            refusal = PoolError(said)
            refusal.__cause__ = error
            refused.append((job, refusal))
        else:
            sent.append(job)
    return b"".join(frames), sent, refused


def _pack_job(job: Job) -> bytes:
    fields = _fields(job)
    try:
        return _frame(Kind.MARSHAL, marshal.dumps([fields], MARSHAL_VERSION))
    except ValueError:
        return _frame(Kind.PICKLE, pickle.dumps([fields], 5))


def _frame(kind: Kind, payload: bytes) -> bytes:
    if len(payload) > LARGEST:
        raise PoolError(f"{len(payload)} bytes are over the limit of {LARGEST} bytes a frame")
    return HEADER.pack(len(payload), kind) + payload


def pack_report(said: Said, number: int, value: Any = None, seconds: float = 0.0) -> bytes:
    """A frame for one report of a child.

    Raises:
        ValueError: the value is no plain data, or too large.
    """
    payload = marshal.dumps((said.value, number, value, seconds), MARSHAL_VERSION)
    if len(payload) > LARGEST:
        raise ValueError(f"{len(payload)} bytes are over the limit of {LARGEST} bytes")
    return HEADER.pack(len(payload), Kind.MARSHAL) + payload


class Frames:
    """Cuts a stream of bytes into the payloads of its frames."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._need = HEADER.size

    def feed(self, data: bytes) -> Iterator[tuple[int, memoryview]]:
        """Kind and payload of each frame that is complete with these bytes. Exhaust it before the next call."""
        source: bytes | bytearray = data
        if self._rest:
            self._rest += data
            if len(self._rest) < self._need:
                return
            source, self._rest = self._rest, bytearray()
        view = memoryview(source)
        at, end, head = 0, len(source), HEADER.size
        while end - at >= head:
            length, kind = HEADER.unpack_from(source, at)
            after = at + head + length
            if after > end:
                break
            yield kind, view[at + head : after]
            at = after
        if at < end:
            self._rest += view[at:]
            self._need = head + length if end - at >= head else head
