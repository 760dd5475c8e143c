"""Messages that nobody should have sent: each ends in a clear error, and the rest of the queue is processed."""

from __future__ import annotations

import bz2
import json
import pickle
import time
import zlib
from collections.abc import Iterator
from typing import Any

import pytest

from umbel import Umbel
from umbel.model import current
from umbel.model.ids import uuid
from umbel_kernel.errors import ContentRefused, ContentTooLarge, DecodeError
from umbel_kernel.spi.message import Delivery, Message

BODY = json.dumps([[], {}, {}]).encode()


@pytest.fixture(params=["memory", "sqlite", "redis", "amqp"])
def app(request: pytest.FixtureRequest, tmp_path: Any) -> Iterator[Umbel]:
    """An app on each broker, with a queue of its own."""
    if request.param == "memory":
        broker = f"memory://{uuid()}"
    elif request.param == "sqlite":
        broker = f"sqlite:///{tmp_path}/tasks.db"
    else:
        broker = request.getfixturevalue(f"{request.param}_url")
    queue = f"test-{uuid()}"
    made = Umbel(
        "bad",
        broker=broker,
        backend=f"memory://{queue}",
        set_as_current=False,
        changes={
            "task_default_queue": queue,
            "worker_dead_letter_queue": f"{queue}.dead",
            "worker_max_message_size": 100_000,
        },
    )
    before = current._default_app
    current.set_default_app(made)
    token = current._thread_app.set(made)
    yield made
    made.connections.broker().delete([queue, f"{queue}.dead"])
    made.close()
    current._thread_app.reset(token)
    current.set_default_app(before)


def _headers(**changed: Any) -> dict[str, Any]:
    return {"task": "bad.fine", "id": uuid(), "retries": 0, "timelimit": [None, None], **changed}


def _dead(app: Umbel) -> list[Delivery]:
    broker, queue = app.connections.broker(), app.queues[app.conf.worker_dead_letter_queue]
    broker.declare([queue])
    consumer = broker.consumer([queue])
    found: list[Delivery] = []
    end = time.monotonic() + 5
    while time.monotonic() < end:
        more = consumer.receive(50, 0.2)
        consumer.ack(more)
        found += more
        if found and not more:
            break
    consumer.close()
    return found


CASES: dict[str, tuple[Any, ...]] = {
    "not JSON": (b"\xff\xfe not json", "application/json", _headers(), DecodeError),
    "JSON cut short": (b'[[1, 2], {"a":', "application/json", _headers(), DecodeError),
    "nested too deeply": (b"[" * 40_000 + b"]" * 40_000, "application/json", _headers(), DecodeError),
    "not a list": (b'{"a": 1}', "application/json", _headers(), None),
    "two members": (b"[[], {}]", "application/json", _headers(), None),
    "args no list": (b'["ab", {}, {}]', "application/json", _headers(), None),
    "kwargs no mapping": (b"[[], [1], {}]", "application/json", _headers(), None),
    "unknown content type": (BODY, "application/x-nobody-knows", _headers(), ContentRefused),
    "pickle not accepted": (pickle.dumps([[], {}, {}]), "application/x-python-serialize", _headers(), ContentRefused),
    "unknown compression": (BODY, "application/json", _headers(compression="application/x-nobody"), ContentRefused),
    "broken compression": (b"no zlib", "application/json", _headers(compression="application/x-gzip"), DecodeError),
    "a bomb": (
        zlib.compress(b"[" + b" " * 10_000_000),
        "application/json",
        _headers(compression="application/x-gzip"),
        ContentTooLarge,
    ),
    "another bomb": (
        bz2.compress(b"[" + b" " * 10_000_000),
        "application/json",
        _headers(compression="application/x-bz2"),
        ContentTooLarge,
    ),
    "gigantic": (b"[[" + b"0," * 100_000 + b"0], {}, {}]", "application/json", _headers(), ContentTooLarge),
    "unknown task": (BODY, "application/json", _headers(task="bad.nobody"), None),
    "id no text": (BODY, "application/json", _headers(id=17), None),
    "no id": (BODY, "application/json", {"task": "bad.fine"}, None),
    "task no text": (BODY, "application/json", _headers(task=["x"]), None),
    "retries no number": (BODY, "application/json", _headers(retries="three"), None),
    "limits no pair": (BODY, "application/json", _headers(timelimit="fast"), None),
    "limit no number": (BODY, "application/json", _headers(timelimit=["1", None]), None),
    "eta no time": (BODY, "application/json", _headers(eta="tomorrow"), None),
    "expires no time": (BODY, "application/json", _headers(expires={"a": 1}), None),
    "group no text": (BODY, "application/json", _headers(group=["g"]), None),
    "no headers, no task": (b'{"hello": "world"}', "application/json", {}, None),
    "no headers, no JSON": (b"hello", "text/plain", {}, None),
}


@pytest.mark.parametrize("case", CASES)
def test_each_is_kept_with_its_reason_and_the_worker_goes_on(app: Umbel, running: Any, case: str) -> None:
    @app.task(name="bad.fine")
    def fine() -> str:
        return "fine"

    body, content_type, headers, error = CASES[case]
    broker = app.connections.broker()
    broker.declare([app.queues[app.conf.task_default_queue]])
    message = Message(body, app.conf.task_default_queue, content_type=content_type, headers=headers)
    broker.publish([message])
    running(app)
    assert fine.delay().get(timeout=10) == "fine"
    (dead,) = _dead(app)
    assert dead.body == body
    assert dead.headers["umbel-dead-queue"] == app.conf.task_default_queue
    reason = dead.headers["umbel-dead-reason"]
    assert len(reason) > 20
    if error is not None:
        assert reason.startswith(error.__name__)
    task_id = headers.get("id")
    if isinstance(task_id, str):
        result = app.AsyncResult(task_id)
        with pytest.raises(Exception, match=r"\w"):
            result.get(timeout=5)
        assert result.state == "FAILURE"


def test_pickle_runs_where_it_is_accepted(app: Umbel, running: Any) -> None:
    app.conf.accept_content = ["json", "pickle"]

    @app.task(serializer="pickle")
    def echo(x: set[int]) -> int:
        return len(x)

    running(app)
    assert echo.delay({1, 2, 3}).get(timeout=5) == 3


def test_compressed_messages_run(app: Umbel, running: Any) -> None:
    @app.task
    def length(x: str) -> int:
        return len(x)

    running(app)
    for name in ("zlib", "bzip2", "gzip"):
        assert length.apply_async(("x" * 10_000,), compression=name).get(timeout=5) == 10_000
