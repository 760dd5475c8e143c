"""Messages that nobody should have sent, by kinds, as data: what is put where, and what has to come of it.

Nothing but the standard library is used here, and nothing of the contenders, so that the scenario and the tests put
the same messages. A kind is a handful of messages with one fault in common. They go past every client straight into
the queue: on Redis as entries of its list, on AMQP as content with properties.
"""

from __future__ import annotations

import base64
import bz2
import enum
import functools
import json
import math
import pickle
import uuid
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

NOTE, ANSWER, NOBODY = "faults.note", "faults.answer", "faults.nobody"
"""Tasks: one that keeps no result and writes down its run, one that returns its argument, one that does not exist."""

GOOD = b"[[], {}, {}]"
LARGE = 50_000_000
LIMIT = 64 * 1024 * 1024
"""Bytes of the largest body that umbel reads by default."""
BOMB = 1_000_000_000


class Fate(enum.Enum):
    """What has to come of a message."""

    DEAD = "dead"
    """Nobody can understand it: it is in the dead-letter queue with the reason, and its task has not run."""
    FAILED = "failed"
    """It calls a known task with arguments that do not fit, which its caller hears as a failed result, as in Celery."""
    RUNS = "runs"
    """What is wrong with it is nothing that running it needs."""
    FOLLOWED = "followed"
    """It runs or fails as it should; what follows from it cannot be understood and is in the dead-letter queue."""


@dataclass(frozen=True)
class Put:
    """A message in the queue.

    Attributes:
        task_id: what its result and its run are known by, where it says so.
        entry: the bytes in the list of Redis, instead of kombu's envelope around the rest.
        bare: on AMQP, without any property; elsewhere the body is all there is.
    """

    fate: Fate
    task_id: str
    body: bytes = GOOD
    headers: Any = None
    content_type: Any = "application/json"
    content_encoding: Any = "utf-8"
    properties: Mapping[str, Any] = field(default_factory=dict)
    entry: bytes | None = None
    bare: bool = False

    def on_redis(self, queue: str) -> bytes:
        """The entry of the list, as kombu's virtual transports write it."""
        if self.entry is not None or self.bare:
            return self.body if self.entry is None else self.entry
        return json.dumps(envelope(self, queue)).encode()

    def on_amqp(self) -> dict[str, Any]:
        """The properties, by the names of py-amqp."""
        if self.bare:
            return {}
        return {
            "content_type": self.content_type,
            "content_encoding": self.content_encoding,
            "application_headers": self.headers,
            "delivery_mode": 2,
            **self.properties,
        }


def envelope(put: Put, queue: str, **changed: Any) -> dict[str, Any]:
    """kombu's envelope around a message; a change of None leaves the member out."""
    properties = {
        "correlation_id": put.task_id,
        "reply_to": None,
        "delivery_mode": 2,
        "delivery_info": {"exchange": "", "routing_key": queue},
        "priority": 0,
        "body_encoding": "base64",
        "delivery_tag": str(uuid.uuid4()),
        **put.properties,
    }
    whole = {
        "body": base64.b64encode(put.body).decode(),
        "content-encoding": put.content_encoding,
        "content-type": put.content_type,
        "headers": put.headers,
        "properties": properties,
        **changed,
    }
    return {name: value for name, value in whole.items() if name not in changed or value is not None}


@dataclass(frozen=True)
class Kind:
    """A kind of malformed message. ``puts`` makes new ones; ``large`` says that they are large or grow large."""

    name: str
    puts: Callable[[], list[Put]]
    brokers: tuple[str, ...] = ("redis", "amqp", "sqlite")
    large: bool = False

    def on(self, broker: str) -> list[Put]:
        """New messages of this kind for a broker. RabbitMQ takes no header that is no finite number."""
        return [put for put in self.puts() if broker != "amqp" or _is_finite(put.headers)]


def _is_finite(value: Any) -> bool:
    if isinstance(value, dict):
        return all(map(_is_finite, value.values()))
    if isinstance(value, list):
        return all(map(_is_finite, value))
    return not isinstance(value, float) or math.isfinite(value)


def good(task_id: str | None = None) -> Put:
    """A message with nothing wrong with it, in the same form as the others."""
    return task(fate=Fate.RUNS, task_id=task_id)


def task(
    *, fate: Fate = Fate.DEAD, name: Any = NOTE, task_id: str | None = None, without: str = "", **more: Any
) -> Put:
    """A message of protocol 2: ``header_<name>`` changes a header, the rest is of ``Put``."""
    task_id = task_id or str(uuid.uuid4())
    headers: dict[str, Any] = {
        "lang": "py", "task": name, "id": task_id, "shadow": None, "eta": None, "expires": None, "group": None,
        "group_index": None, "retries": 0, "timelimit": [None, None], "root_id": task_id, "parent_id": None,
        "argsrepr": "()", "kwargsrepr": "{}", "origin": "gen1@somewhere", "ignore_result": False,
        "replaced_task_nesting": 0, "stamped_headers": None, "stamps": {},
    }  # fmt: skip
    headers.pop(without, None)
    for key in [key for key in more if key.startswith("header_")]:
        headers[key.removeprefix("header_")] = more.pop(key)
    headers.update(more.pop("headers", {}))
    return Put(fate, task_id, headers=headers, **more)


def _body(value: Any, **more: Any) -> Put:
    return task(body=json.dumps(value).encode(), **more)


def _bare(body: bytes) -> Put:
    return Put(Fate.DEAD, "", body=body, bare=True, headers={}, content_type="", content_encoding="")


def _nested(open_: bytes, close: bytes, depth: int, inside: bytes = b"") -> bytes:
    return open_ * depth + inside + close * depth


_BODIES: dict[str, list[bytes]] = {
    "nothing": [b"", b" \n"],
    "random bytes": [bytes(range(256)), b"\x80\x04\x95" * 99, b"\x00" * 1000],
    "broken JSON": [b"{", b'{"a":', b"[1, 2", b"[[], {}, {}", b"{'a': 1}", b'{"a": 1} and more', b"nul"],
    "null": [b"null"],
    "numbers": [b"17", b"-1.5", b"1e999", b"NaN", b"-Infinity", b"9" * 5000],
    "true": [b"true"],
    "texts": [b'""', b'"hello"', b'"\\ud800"'],
    "lists": [b"[]", b"[1]", b"[[], {}]", b"[[], {}, {}, {}]", b"[[[]]]"],
    "objects": [b"{}", b'{"hello": "world"}', b'{"body": 1, "properties": 2}', b'{"a": 1, "a": 2}'],
    "brackets, 100,000 deep": [_nested(b"[", b"]", 100_000), b"[" * 100_000],
    "braces, 100,000 deep": [_nested(b'{"a":', b"}", 100_000, b"1"), b'{"headers":' * 100_000],
    "invalid UTF-8": [b'["\xff\xfe"]', b'{"a": "\xc3\x28"}', b"\xed\xa0\x80"],
    "another text encoding": ["[[], {}, {}]".encode("utf-16"), b"\xef\xbb\xbf[[], {}, {}]", "[[]]".encode("utf-32")],
    "type tags that are none": [
        b'[[{"__type__": "nobody", "__value__": 1}], {}, {}]',
        b'[[{"__type__": "datetime", "__value__": "soon"}], {}, {}]',
        b'[[{"__type__": "uuid", "__value__": {}}], {}, {}]',
        b'[[{"__type__": ["x"], "__value__": 1}], {}, {}]',
    ],
    "another format": [b"--- [[], {}, {}]\n", b"\x93\x90\x80\x80", b"<task/>", pickle.dumps([[], {}, {}])],
}

_TEXT = [17, 1.5, True, ["x"], {"x": 1}]
_COUNT = ["1", 1.5, True, ["x"], {"x": 1}, -1, 2**40]
_MOMENT = [
    True, ["x"], [], {"x": 1}, "tomorrow", "2024-13-45T99:00:00", "+999999-01-01T00:00:00", "999999-12-31", "-5",
    1e308, -1e18, float("nan"), float("inf"), "9" * 100_000,
]  # fmt: skip
_ID = [*_TEXT, "x" * 600, "a\nb", "a\x00b"]
_HEADERS: dict[str, list[Any]] = {
    "task": [None, 17, 1.5, True, ["x"], {"x": 1}, "", "x" * 10_000, "a\nb"],
    "id": [None, "", *_ID],
    "lang": _TEXT,
    "shadow": _ID,
    "root_id": _ID,
    "parent_id": _ID,
    "group": _ID,
    "group_index": _COUNT,
    "retries": _COUNT,
    "replaced_task_nesting": _COUNT,
    "argsrepr": _TEXT,
    "kwargsrepr": _TEXT,
    "origin": _TEXT,
    "ignore_result": [17, 1.5, "yes", ["x"], {"x": 1}],
    "timelimit": [
        17, "60", True, {"x": 1}, [], [1], [1, 2, 3], ["1", None], [None, True], [[], {}], [-1, None],
        [None, 1e308], [float("nan"), None], [None, float("inf")],
    ],
    "eta": _MOMENT,
    "expires": _MOMENT,
    "stamped_headers": [17, "x", True, {"x": 1}, [1], [None]],
    "stamps": [17, "x", True, ["x"]],
    "compression": [17, True, ["x"], {"x": 1}, "application/x-nobody", "application/x-brotli", "x" * 10_000],
}  # fmt: skip

_NO_SIGNATURES: list[Any] = [
    17, "x", True, "", {}, [17], ["x"], [None], [[]], [{}], [{"task": 17}], [{"task": ""}],
    [{"task": NOTE, "args": 17}], [{"task": NOTE, "kwargs": [1]}], [{"task": NOTE, "options": "x"}],
    [{"task": NOTE, "subtask_type": "nobody"}], [{"task": NOTE, "subtask_type": 17}],
    [{"task": NOTE, "options": {"link": [17]}}], [{"task": NOTE, "subtask_type": "group", "kwargs": {"tasks": 17}}],
    [{"task": NOTE, "subtask_type": "chord", "kwargs": {"header": [17], "body": "x"}}],
]  # fmt: skip


def _linked(depth: int) -> Any:
    found: Any = {"task": NOTE}
    for _ in range(depth):
        found = {"task": NOTE, "args": [], "kwargs": {}, "options": {"link": [found]}, "subtask_type": None}
    return found


def _embedded(name: str) -> list[Put]:
    wrong = [value[0] if name == "chord" and isinstance(value, list) and value else value for value in _NO_SIGNATURES]
    found = [_body([[], {}, {name: value}]) for value in [*wrong, [_linked(150)]] if value is not None]
    # Deeper than the standard library writes.
    one = f'{{"task": "{NOTE}", "options": {{"link": '
    deep = f'[[], {{}}, {{"{name}": [{one * 450}null{"}}" * 450}]}}]'
    return [*found, task(body=deep.encode())]


def _unknown_follow_ups() -> list[Put]:
    nobody = {"task": NOBODY, "args": [], "kwargs": {}, "options": {}, "subtask_type": None, "immutable": False}
    follows = Fate.FOLLOWED
    chord = {**nobody, "chord_size": 1, "options": {"task_id": str(uuid.uuid4())}}
    return [
        _body([[1], {}, {"callbacks": [nobody]}], name=ANSWER, fate=follows),
        _body([[1], {}, {"chain": [nobody]}], name=ANSWER, fate=follows),
        _body([[1, 2, 3], {}, {"errbacks": [nobody]}], name=ANSWER, fate=follows),
        _body(
            [[1], {}, {"chord": chord}], name=ANSWER, fate=follows, header_group=str(uuid.uuid4()), header_group_index=0
        ),
    ]


def _protocol_1() -> list[Put]:
    def old(fate: Fate = Fate.DEAD, without: str = "", **changed: Any) -> Put:
        task_id = str(uuid.uuid4())
        body = {"task": NOTE, "id": task_id, "args": [], "kwargs": {}, "retries": 0, "eta": None, "expires": None}
        body.update(changed)
        body.pop(without, None)
        return Put(fate, task_id, body=json.dumps(body).encode(), headers={})

    times = [old(**{name: value}) for name in ("eta", "expires") for value in _MOMENT if value == value]
    return [
        old(without="task"), old(without="id"), old(task=17), old(task=NOBODY), old(id=17), old(args="ab"),
        old(args=17), old(kwargs=[1]), old(kwargs="x"), old(retries="3"), old(timelimit="fast"), old(taskset=17),
        old(callbacks=[17]), old(errbacks="x"), old(chord=17), *times,
        old(Fate.RUNS), old(Fate.RUNS, without="retries"),
    ]  # fmt: skip


def _wrong_arguments() -> list[Put]:
    return [
        _body([value, kwargs, {}], name=ANSWER, fate=Fate.FAILED)
        for value, kwargs in (
            ([1, 2, 3], {}), ([], {"nobody": 1}), ([1], {"value": 2}), ([0] * 100_000, {}), ([], {"x" * 1_000_000: 1}),
            ([], {"self": 1}), ([], {"": 1}),
        )
    ]  # fmt: skip


@functools.cache
def bomb() -> bytes:
    """A zlib stream of a megabyte that grows to ``BOMB`` zeros: one block that stands for itself, again and again."""
    packer = zlib.compressobj(9)
    block = packer.compress(b" " * 1_000_000) + packer.flush(zlib.Z_FULL_FLUSH)
    again = packer.compress(b" " * 1_000_000) + packer.flush(zlib.Z_FULL_FLUSH)
    return block + again * (BOMB // 1_000_000 - 1) + b"\x03\x00" + bytes(4)


def _compressed(body: bytes, content_type: str) -> Put:
    return task(body=body, header_compression=content_type)


def _compression() -> list[Put]:
    whole = zlib.compress(GOOD)
    return [
        _compressed(GOOD, "application/x-gzip"), _compressed(whole[:-5], "application/x-gzip"),
        _compressed(whole[:4] + b"\xff" * 9, "application/x-gzip"), _compressed(b"", "application/x-gzip"),
        _compressed(whole, "application/x-bz2"), _compressed(bz2.compress(GOOD)[:-3], "application/x-bz2"),
        _compressed(zlib.compress(b"null"), "application/x-gzip"),
    ]  # fmt: skip


def _content_types() -> list[Put]:
    return [
        *(task(content_type=each) for each in ("application/x-nobody", "text/html", "application/xml", "x" * 200)),
        task(content_type="application/x-yaml", body=b"- []\n- {}\n- {}\n"),
        task(content_type="application/x-msgpack", content_encoding="binary", body=b"\x93\x90\x80\x80"),
        task(content_type="text/plain"), task(content_type="application/data"), task(content_type=""),
    ]  # fmt: skip


class Canary:
    """Unpickled, it ends the process that reads it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, ("import os; os._exit(70)",)


def _pickled() -> list[Put]:
    return [
        task(content_type=each, content_encoding="binary", body=pickle.dumps([[], {"x": Canary()}, {}]))
        for each in ("application/x-python-serialize", "application/x-pickle")
    ]


def _encodings() -> list[Put]:
    named = ("x-nobody", "utf-16", "rot13", "hex", "zlib", "base64", "idna", "unicode_escape", "x" * 200)
    return [task(content_encoding=each) for each in named]


def _header_tables() -> Iterator[Put]:
    for fate, name in ((Fate.DEAD, NOBODY), (Fate.RUNS, NOTE)):
        yield task(fate=fate, name=name, headers={f"x-{n}": "y" * 20 for n in range(3000)})
        yield task(fate=fate, name=name, headers={"x-long": "y" * 100_000})
        yield task(fate=fate, name=name, headers={"x" * 250: 1, "é" * 100: 2})
        yield task(fate=fate, name=name, headers={"x-deep": _nest(20)})


def _nest(depth: int) -> Any:
    found: Any = 1
    for _ in range(depth):
        found = {"x": [found]}
    return found


def _larger_header_tables() -> Iterator[Put]:
    """What does not fit into a frame of AMQP, or into its types."""
    for fate, name in ((Fate.DEAD, NOBODY), (Fate.RUNS, NOTE)):
        yield task(fate=fate, name=name, headers={f"x-{n}": "y" * 20 for n in range(20_000)})
        yield task(fate=fate, name=name, headers={"x-long": "y" * 5_000_000})
        yield task(fate=fate, name=name, headers={"x" * 10_000: 1, "\ud800": "\ud800"})
        yield task(fate=fate, name=name, headers={"x-int": 10**30, "x-nan": float("nan"), "": ""})
        yield task(fate=fate, name=name, headers={"x-deep": _nest(200)})
    yield task(header_id="\ud800")
    yield task(header_group="\ud800")


def _envelope(fate: Fate = Fate.DEAD, properties: Any = None, without: str = "", **changed: Any) -> Put:
    put = task(fate=fate)
    whole = envelope(put, "queue")
    whole["properties"].update(properties or {})
    whole["properties"].pop(without, None)
    whole.update({name.replace("_", "-"): value for name, value in changed.items()})
    whole.pop(without, None)
    return Put(fate, put.task_id, entry=json.dumps(whole).encode())


_ENVELOPES: dict[str, Callable[[], list[Put]]] = {
    "an envelope without a member": lambda: [
        *(_envelope(without=name) for name in ("body", "headers", "properties", "content-type", "body_encoding")),
        *(_envelope(Fate.RUNS, without=name) for name in ("delivery_info", "delivery_tag", "delivery_mode")),
        _envelope(Fate.RUNS, without="priority"), _envelope(Fate.RUNS, without="content-encoding"),
    ],
    "an envelope whose body is none": lambda: [
        _envelope(body=value) for value in (None, 17, ["x"], {"x": 1}, "!!!", "W1tdLA", "=", "\ud800", "é")
    ],
    "an envelope whose headers are none": lambda: [
        _envelope(headers=value) for value in (None, 17, "x", True, ["x"], [["task", NOTE]], {})
    ],
    "an envelope whose properties are none": lambda: [
        _envelope(properties=None, without="properties"),
        *(Put(Fate.DEAD, "", entry=json.dumps({**envelope(task(), "q"), "properties": value}).encode())
          for value in (17, "x", True, ["x"], None)),
    ],
    "an envelope in another body encoding": lambda: [
        _envelope(properties={"body_encoding": value}) for value in ("rot13", "nobody", 17, ["x"], {"x": 1}, None)
    ],
    "an envelope with a content type that is no text": lambda: [
        _envelope(content_type=value) for value in (None, 17, ["x"], {"x": 1}, True)
    ],
    "an envelope with a content encoding that is no text": lambda: [
        _envelope(Fate.RUNS, content_encoding=value) for value in (None, 17, ["x"], {"x": 1}, True)
    ],
    "a reply_to that is no text": lambda: [
        _envelope(properties={"reply_to": value}) for value in (17, True, ["x"], {"x": 1}, 1.5)
    ],
    "a priority that is none": lambda: [
        _envelope(Fate.RUNS, {"priority": value}) for value in ("high", -5, 10**30, 1.5, True, ["x"], {"x": 1}, None)
    ],
    "delivery facts of the wrong type": lambda: [
        _envelope(Fate.RUNS, {name: value})
        for name in ("delivery_info", "delivery_tag", "correlation_id", "delivery_mode")
        for value in (17, "x", True, ["x"], {"exchange": 17, "routing_key": ["x"]}, None)
    ],
    "headers with type tags that are none": lambda: [
        _envelope(headers={**task().headers, "x": {"__type__": tag, "__value__": value}})
        for tag, value in (("datetime", "soon"), ("uuid", 17), ("decimal", "x"), ("base64", 17), ("bytes", 17))
    ],
}  # fmt: skip


def _large() -> list[Put]:
    return [
        _bare(b"\xff" * LARGE),
        task(body=b"[[" + b" " * LARGE),
        task(body=b'"' + b"x" * LARGE + b'"'),
        task(body=b"[[" + b'"' + b"x" * LIMIT + b'"], {}, {}]'),
    ]


def kinds() -> list[Kind]:
    """All kinds, each with a name of its own."""
    found = [Kind(f"no properties: {name}", functools.partial(lambda b: list(map(_bare, b)), bodies))
             for name, bodies in _BODIES.items()]  # fmt: skip
    found += [
        Kind(f"a body: {name}", functools.partial(lambda b: [task(body=each) for each in b], bodies))
        for name, bodies in _BODIES.items()
    ]
    found += [
        Kind(f"the header {name}", functools.partial(_of_header, name, values)) for name, values in _HEADERS.items()
    ]
    found += [Kind(f"{name} that are no signatures", functools.partial(_embedded, name))
              for name in ("callbacks", "errbacks", "chain", "chord")]  # fmt: skip
    found += [Kind(name, puts, ("redis",)) for name, puts in _ENVELOPES.items()]
    return [
        *found,
        Kind("headers that are missing", lambda: [task(without="task"), task(without="id"), Put(Fate.DEAD, "")]),
        Kind("arguments that are no list", lambda: [_body([v, {}, {}]) for v in (None, 17, "ab", True, {"a": 1})]),
        Kind("keyword arguments that are no mapping", lambda: [_body([[], v, {}]) for v in (None, 17, "ab", [1], [])]),
        Kind("callbacks that are no mapping", lambda: [_body([[], {}, v]) for v in (17, "ab", True, [], [1])]),
        Kind("callbacks that nobody knows", _unknown_follow_ups),
        Kind("arguments that do not fit", _wrong_arguments),
        Kind("odd arguments", lambda: [
            task(body=b'[["\\ud800", NaN, Infinity], {}, {}]', name=ANSWER, fate=Fate.FAILED),
            task(body=b'[[{"a": "\\ud800", "b": NaN}], {}, {}]', name=ANSWER, fate=Fate.RUNS),
            task(body=b'[[], {"value": 1, "value": 2}, {}]', name=ANSWER, fate=Fate.RUNS),
            task(body=b"[[" + _nested(b"[", b"]", 300) + b"], {}, {}]", name=ANSWER, fate=Fate.RUNS),
        ]),
        Kind("a task that nobody knows", lambda: [
            task(name=name) for name in (NOBODY, "é", "os.system", "__main__", "x" * 300)
        ]),
        Kind("messages of protocol 1", _protocol_1),
        Kind("a foreign content type", _content_types),
        Kind("a pickle", _pickled),
        Kind("a foreign content encoding", _encodings),
        Kind("a corrupt compression", _compression),
        Kind("a bomb of zlib", lambda: [_compressed(bomb(), "application/x-gzip")], large=True),
        Kind("a bomb of bzip2", lambda: [
            _compressed(bz2.compress(b" " * 100_000_000), "application/x-bz2"),
        ], large=True),
        Kind("a huge table of headers", lambda: list(_header_tables())),
        Kind("a table of headers beyond AMQP", lambda: list(_larger_header_tables()), ("redis", "sqlite")),
        Kind("a header that nests deeper than AMQP's are read", lambda: [task(headers={"x": _nest(40)})], ("amqp",)),
        Kind("a reply_to to nowhere", lambda: [
            task(fate=Fate.RUNS, properties={"reply_to": "nobody"}),
            task(fate=Fate.RUNS, properties={"reply_to": "x" * 200}),
        ]),
        Kind("a priority out of bounds", lambda: [task(fate=Fate.RUNS, properties={"priority": 255})]),
        Kind("50 MB", _large, large=True),
    ]  # fmt: skip


def _of_header(name: str, values: list[Any]) -> list[Put]:
    return [task(headers={name: value}) for value in values]
