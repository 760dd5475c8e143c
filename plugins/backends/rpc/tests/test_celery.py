"""The rpc backend and Celery's own, each answering the other."""

from __future__ import annotations

import json
import time
import uuid

import pytest
from celery import Celery
from kombu import Connection, Producer

from umbel_backend_rpc import RpcBackend
from umbel_kernel.errors import OperationalError
from umbel_kernel.spi.backend import Record
from umbel_kernel.url import URL
from umbel_testkit.backend import json_state_of


@pytest.mark.parametrize("broker", ["amqp_url", "redis_url"])
def test_a_reply_as_celery_sends_it_is_read(broker: str, request: pytest.FixtureRequest) -> None:
    url = request.getfixturevalue(broker)
    backend = RpcBackend(URL.parse("rpc://"), {"broker_url": url}, state_of=json_state_of)
    task_id = str(uuid.uuid4())
    backend.expect([task_id])
    document = {"task_id": task_id, "status": "SUCCESS", "result": 3, "traceback": None, "children": []}
    with Connection(url) as connection:
        Producer(connection).publish(
            document,
            exchange="",
            routing_key=backend.reply_to,
            correlation_id=task_id,
            serializer="json",
            delivery_mode=1,
        )
    found = backend.wait([task_id], timeout=5)
    assert json.loads(found[task_id].body) == document
    backend.close()


@pytest.mark.parametrize("broker", ["amqp_url", "redis_url"])
def test_a_celery_client_reads_our_reply(broker: str, request: pytest.FixtureRequest) -> None:
    url = request.getfixturevalue(broker)
    app = Celery("probe", broker=url, backend="rpc://")
    backend = RpcBackend(URL.parse("rpc://"), {"broker_url": url}, state_of=json_state_of)
    queue = f"rpc-probe-{uuid.uuid4().hex}"
    result = app.send_task("probe.add", (1, 2), queue=queue)
    with Connection(url) as connection:
        bound = connection.SimpleQueue(queue)
        task = bound.get(timeout=5)
        task.ack()
        reply_to = task.properties["reply_to"]
        document = {"task_id": result.id, "status": "SUCCESS", "result": 3, "traceback": None, "children": []}
        backend.store([Record(result.id, "SUCCESS", json.dumps(document).encode(), reply_to=reply_to)])
        assert result.get(timeout=5) == 3
        bound.close()
        bound.queue.delete()
    backend.close()


def test_without_a_broker_it_says_so_in_time() -> None:
    backend = RpcBackend(URL.parse("rpc://"), {"broker_url": "amqp://u:seecret@127.0.0.1:1//"}, state_of=json_state_of)
    started = time.monotonic()
    with pytest.raises(OperationalError, match=r"u:\*\*@127") as caught:
        backend.wait(["x"], timeout=1)
    assert time.monotonic() - started < 4
    assert "seecret" not in str(caught.value)
    backend.close()
