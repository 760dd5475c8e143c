"""The result document: what a result store holds of a task, member for member as Celery 5.7 writes it.

The form is that of ``celery.backends.base.Backend._get_result_meta`` with ``task_id`` added, as Celery's key-value
backends add it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from time import time_ns
from typing import Any, Protocol

from umbel.model.states import EXCEPTION_STATES, PENDING, READY_STATES
from umbel.wire.failure import decode_exception
from umbel_kernel.errors import DecodeError

JSON = "application/json"

COMPRESSED = b"\x00celery-compressed\x00"
"""What a compressed document begins with; the compressor's content type, a zero byte and the data follow."""

_STATUS_FIRST = re.compile(rb'\{\s*"status"\s*:\s*"([^"\\]{1,64})"\s*[,}]')
_second: tuple[int, str] = (0, "1970-01-01T00:00:00")


class Reader(Protocol):
    """What is needed of the app's ``Content`` to read documents."""

    def loads(
        self, body: bytes, content_type: str, content_encoding: str, *, accept: Iterable[str] | None = None
    ) -> Any:
        """The value of a body."""
        ...

    def decompress(self, data: bytes, content_type_or_name: str) -> bytes:
        """The body inside a compressed one."""
        ...


def encode(
    task_id: str,
    state: str,
    result: Any,
    *,
    traceback: str | None = None,
    children: list[Any] | None = None,
    group_id: str | None = None,
    parent_id: str | None = None,
    date_done: datetime | str | None = None,
    extended: Mapping[str, Any] | None = None,
    fence: int = 0,
) -> dict[str, Any]:
    """The document of a task, ready for a serializer.

    Args:
        result: plain data; an error has been through ``encode_exception``.
        children: the tuples of the results of the tasks that this one sent; None when that is not known.
        date_done: when it ended; None means now, if the state is a final one.
        extended: what ``result_extended`` adds: ``name``, ``args``, ``kwargs``, ``worker``, ``retries``, ``queue``.
        fence: which run of the task it is of; Celery has no such member, so it is left out for the first.
    """
    if state in READY_STATES:
        if date_done is None:
            date_done = _stamp()
        elif not isinstance(date_done, str):
            date_done = date_done.isoformat()
    else:
        date_done = None
    document = {
        "status": state,
        "result": result,
        "traceback": traceback,
        "children": children,
        "date_done": date_done,
    }
    if group_id:
        document["group_id"] = group_id
    if parent_id:
        document["parent_id"] = parent_id
    if extended is not None:
        document.update(extended)
    if fence:
        document["fence"] = fence
    document["task_id"] = task_id
    return document


@dataclass(slots=True)
class ResultDocument:
    """What is known of a task.

    Attributes:
        status: the task's state; ``PENDING`` when nothing is known of it.
        result: the return value, the error, or what the task said of its progress.
        traceback: the worker's traceback as text.
        children: tuples of the results of the tasks that it sent, for ``result_from_tuple``.
        date_done: when it ended.
        stamps: the task's stamps by name, if it has any.
    The last seven are only there with ``result_extended``.
    """

    task_id: str
    status: str = PENDING
    result: Any = None
    traceback: str | None = None
    children: list[Any] | None = None
    date_done: datetime | None = None
    parent_id: str | None = None
    group_id: str | None = None
    name: str | None = None
    args: Any = None
    kwargs: Any = None
    worker: str | None = None
    retries: int | None = None
    queue: str | None = None
    stamps: dict[str, Any] | None = None

    @classmethod
    def from_mapping(cls, data: Any, task_id: str | None = None) -> ResultDocument:
        """Read a document.

        Args:
            task_id: whose it is, when it does not say so itself.

        Raises:
            DecodeError: it is no result document.
        """
        if not isinstance(data, Mapping) or not isinstance(data.get("status"), str):
            raise DecodeError(f"a result document is a mapping with the member 'status', not {type(data).__name__}")
        get = data.get
        status = data["status"]
        result = get("result")
        if status in EXCEPTION_STATES and result is not None:
            result = decode_exception(result)
        stamped = get("stamped_headers")
        stamps = {name: data[name] for name in stamped if name in data} if isinstance(stamped, list | tuple) else None
        return cls(
            task_id if task_id is not None else str(get("task_id")),
            status, result, get("traceback"), get("children"), _moment(get("date_done")), get("parent_id"),
            get("group_id"), get("name"), get("args"), get("kwargs"), get("worker"), get("retries"), get("queue"),
            stamps or None,
        )  # fmt: skip

    def as_mapping(self) -> dict[str, Any]:
        """The document as Celery's ``get_task_meta`` returns it: a dict whose ``result`` is an error if it is one."""
        document = {
            "task_id": self.task_id,
            "status": self.status,
            "result": self.result,
            "traceback": self.traceback,
            "children": self.children,
            "date_done": self.date_done,
        }
        for name in ("group_id", "parent_id", "name", "args", "kwargs", "worker", "retries", "queue"):
            value = getattr(self, name)
            if value is not None:
                document[name] = value
        if self.stamps:
            document.update(self.stamps, stamped_headers=list(self.stamps))
        return document


def loads(
    content: Reader, body: bytes, content_type: str, content_encoding: str, accept: Iterable[str] | None = None
) -> Any:
    """Read a document's body, compressed or not.

    Args:
        accept: the serializers allowed for results; None means those of the app.
        content_type: what it was written as, as far as the reader knows. JSON is told by its first byte, so that
            documents of before a change of ``result_serializer`` stay readable.

    Raises:
        ContentError: it cannot be read.
    """
    if body.startswith(COMPRESSED):
        compressor, _, data = body[len(COMPRESSED) :].partition(b"\x00")
        body = content.decompress(data, compressor.decode("ascii", "replace"))
    if body[:1] == b"{":
        content_type, content_encoding = JSON, "utf-8"
    if accept is None:
        return content.loads(body, content_type, content_encoding)
    return content.loads(body, content_type, content_encoding, accept=accept)


def state_of(content: Reader, content_type: str = JSON, content_encoding: str = "utf-8") -> Callable[[bytes], str]:
    """A function that reads the state out of a document's body, for the constructor of a backend.

    A JSON document that begins with its status, as all that Celery and umbel write do, is not parsed. The function
    raises ``DecodeError`` when the body is no result document.

    Args:
        content_type: of ``result_serializer``, for what is not JSON.
    """

    def read(body: bytes) -> str:
        found = _STATUS_FIRST.match(body)
        if found is not None and body.endswith(b"}"):
            return found[1].decode("utf-8", "replace")
        data = loads(content, body, content_type, content_encoding)
        status = data.get("status") if isinstance(data, Mapping) else None
        if not isinstance(status, str):
            raise DecodeError(f"{len(body)} bytes are no result document: they have no member 'status'")
        return status

    return read


def _stamp() -> str:
    """Now, in UTC. ``datetime.isoformat`` costs 3 µs, most of a document, so the part down to the second is kept."""
    global _second
    second, microsecond = divmod(time_ns() // 1000, 1_000_000)
    known, text = _second
    if known != second:
        text = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        _second = (second, text)
    return f"{text}.{microsecond:06d}+00:00"


def _moment(value: Any) -> datetime | None:
    if value is None or isinstance(value, datetime):
        return value
    if isinstance(value, str):
        try:
            return datetime.fromisoformat(value)
        except ValueError:
            pass
    raise DecodeError(f"a result document's date_done is a date as text in ISO 8601, not {value!r:.80}")
