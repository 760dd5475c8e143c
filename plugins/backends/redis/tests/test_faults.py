"""A store that goes away, and documents shared with Celery."""

from __future__ import annotations

import json
import pickle
import socket
import threading
import time
import uuid
from typing import Any

import pytest
from celery import Celery

from umbel_backend_redis import RedisBackend
from umbel_kernel.errors import DecodeError, OperationalError
from umbel_kernel.spi.backend import Record
from umbel_kernel.url import URL
from umbel_testkit.backend import json_state_of


def backend(redis_server: Any) -> RedisBackend:
    return RedisBackend(URL.parse(redis_server.url), state_of=json_state_of)


def success(task_id: str) -> Record:
    return Record(task_id, "SUCCESS", json.dumps({"task_id": task_id, "status": "SUCCESS", "result": 1}).encode())


def test_a_wait_outlives_a_restart(redis_server: Any) -> None:
    reader, writer = backend(redis_server), backend(redis_server)
    task_id = str(uuid.uuid4())
    reader.wait([task_id], timeout=0.1)

    def restart() -> None:
        redis_server.stop()
        redis_server.start()
        writer.store([success(task_id)])

    thread = threading.Timer(0.2, restart)
    thread.start()
    assert reader.wait([task_id], timeout=10)[task_id].state == "SUCCESS"
    thread.join()
    reader.close()
    writer.close()


def test_without_a_store_every_call_says_so_in_time(redis_server: Any) -> None:
    found = backend(redis_server)
    found.connect(timeout=2)
    redis_server.stop()
    started = time.monotonic()
    for call in (
        lambda: found.store([success("x")], timeout=0.5),
        lambda: found.fetch(["x"], timeout=0.5),
        lambda: found.wait(["x"], timeout=0.5),
        lambda: found.wait(["x"], timeout=None),
        lambda: found.connect(timeout=0.5),
    ):
        with pytest.raises(OperationalError):
            call()
    assert time.monotonic() - started < 5
    redis_server.start()
    found.store([success("x")])
    assert found.fetch(["x"])["x"].state == "SUCCESS"
    found.close()


def test_a_success_in_another_serializer_is_kept_too(redis_server: Any) -> None:
    def state_of(body: bytes) -> str:
        try:
            return str(pickle.loads(body)["status"])
        except Exception as error:
            raise DecodeError(str(error)) from error

    found = RedisBackend(URL.parse(redis_server.url), state_of=state_of)
    for first, kept in (("SUCCESS", "SUCCESS"), ("RETRY of SUCCESS", "FAILURE")):
        task_id = str(uuid.uuid4())
        found.store([Record(task_id, first, pickle.dumps({"status": first}))])
        found.store([Record(task_id, "FAILURE", pickle.dumps({"status": "FAILURE"}))])
        assert found.fetch([task_id])[task_id].state == kept
    found.close()


def test_documents_are_shared_with_celery(redis_url: str) -> None:
    app = Celery("probe", broker="memory://", backend=redis_url)
    found = RedisBackend(URL.parse(redis_url), state_of=json_state_of)
    ours, theirs = str(uuid.uuid4()), str(uuid.uuid4())
    threading.Timer(0.2, lambda: app.backend.store_result(theirs, 5, "SUCCESS")).start()
    assert json.loads(found.wait([theirs], timeout=5)[theirs].body)["result"] == 5
    result = app.AsyncResult(ours)
    threading.Timer(0.2, lambda: found.store([success(ours)])).start()
    assert result.get(timeout=5) == 1
    found.forget([ours, theirs])
    found.close()


def test_a_silent_store_ends_a_wait_in_time() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = URL.parse(f"redis://u:seecret@127.0.0.1:{silent.getsockname()[1]}/0")
        found = RedisBackend(url, state_of=json_state_of)
        started = time.monotonic()
        with pytest.raises(OperationalError) as caught:
            found.wait(["x"], timeout=0.5)
        assert time.monotonic() - started < 2
        assert "seecret" not in str(caught.value)
        found.close()
