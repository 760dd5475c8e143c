"""Posts that come alone: they wait until the server has the message."""

from __future__ import annotations

import subprocess
import sys
import time
import uuid
from typing import Any

import pytest

from umbel_broker_amqp import AmqpBroker
from umbel_broker_amqp.outlet import Outlet
from umbel_kernel.errors import PublishError
from umbel_kernel.spi.message import Message
from umbel_kernel.spi.topology import Queue
from umbel_testkit.taking import take

PROGRAM = """
import os, sys
from umbel_broker_amqp import AmqpBroker
from umbel_kernel.spi.message import Message
from umbel_kernel.url import URL
broker = AmqpBroker(URL.parse(sys.argv[1]))
broker.connect(timeout=5)
for number in range(40):
    broker.post([Message(b"%d" % number, sys.argv[2])])
os._exit(0)
"""


def test_a_process_that_ends_at_once_has_lost_none(amqp_url: str, direct: AmqpBroker) -> None:
    queue = Queue(f"arrival-{uuid.uuid4().hex}")
    direct.declare([queue])
    try:
        for _ in range(10):
            subprocess.run([sys.executable, "-c", PROGRAM, amqp_url, queue.name], check=True, timeout=30)
            consumer = direct.consumer([queue])
            found = take(consumer, 40)
            assert [int(each.body) for each in found] == list(range(40))
            consumer.ack(found)
            consumer.close()
    finally:
        direct.delete([queue.name])


def test_one_that_comes_alone_is_said_not_to_have_been_taken(broker: AmqpBroker, proxy: Any, queue: Queue) -> None:
    proxy.frozen.set()
    [message] = [Message(b"1", queue.name)]
    began = time.monotonic()
    with pytest.raises(PublishError, match=r"within 0\.3 s") as caught:
        broker.post([message], timeout=0.3)
    assert time.monotonic() - began < 2
    assert list(caught.value.failed) == [message]


def test_only_a_long_burst_does_not_wait(direct: AmqpBroker, queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[int] = []
    number = 0

    def noted(outlet: Outlet, *args: Any, _wait: Any = Outlet._await_arrival) -> None:
        waited.append(number)
        _wait(outlet, *args)

    monkeypatch.setattr(Outlet, "_await_arrival", noted)
    monkeypatch.setattr("umbel_broker_amqp.outlet._BURST", 0.02)  # however busy this machine is
    monkeypatch.setattr("umbel_broker_amqp.outlet._LULL", 0.2)
    for number in range(150):
        direct.post([Message(b"%d" % number, queue.name)])
    first = waited[-1] + 1
    assert waited == list(range(first)) and first >= 100
    time.sleep(0.1)  # a lull
    direct.post([Message(b"150", queue.name)])
    assert waited[-1] < number
    time.sleep(0.3)
    number = 151
    direct.post([Message(b"151", queue.name)])
    assert waited[-1] == 151
    assert not direct._outlet._session or direct._outlet._session.answered
    direct.flush()
    assert direct.size([queue.name]) == {queue.name: 152}


def test_one_for_a_queue_that_is_gone_is_seen_to_at_once(direct: AmqpBroker, caplog: pytest.LogCaptureFixture) -> None:
    nowhere = f"nowhere-{uuid.uuid4().hex}"
    direct.post([Message(b"1", nowhere)])
    assert f"1 messages for the queue '{nowhere}' are lost" in caplog.text
