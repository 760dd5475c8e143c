"""The directory broker in umbel's conformance suite, and a consumer that is killed."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from umbel_broker_directory import DirectoryBroker
from umbel_kernel.errors import ConfigurationError, OperationalError, PublishError
from umbel_kernel.plugins import load
from umbel_kernel.spi.message import Message
from umbel_kernel.spi.topology import Queue
from umbel_kernel.url import URL
from umbel_testkit.broker import BrokerConformance


@pytest.fixture
def make_broker(tmp_path: Path) -> Callable[..., DirectoryBroker]:
    return lambda **options: DirectoryBroker(URL.parse(f"directory://{tmp_path}/spool"), options)


class TestDirectoryBroker(BrokerConformance):
    @pytest.fixture
    def make_broker(self, make_broker: Callable[..., Any]) -> Callable[..., Any]:
        return make_broker


def test_umbel_finds_it_by_its_scheme() -> None:
    assert load("brokers", "directory") is DirectoryBroker


def test_what_a_killed_consumer_held_comes_back(make_broker: Callable[..., DirectoryBroker]) -> None:
    broker = make_broker()
    broker.connect(timeout=1)
    broker.publish([Message(b"held", "q")])
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        mine = make_broker()
        mine.connect(timeout=1)
        consumer = mine.consumer([Queue("q")])
        os.write(writing, consumer.receive(1, 5.0)[0].body)
        signal.pause()
    try:
        assert os.read(reading, 10) == b"held"
        assert broker.size(["q"]) == {"q": 0}
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(reading)
        os.close(writing)
    consumer = broker.consumer([Queue("q")])
    (found,) = consumer.receive(1, 5.0)
    assert (found.body, found.redelivered, found.delivery_count) == (b"held", True, 1)
    consumer.ack([found])
    broker.close()


def test_a_file_that_is_no_message_is_put_aside(make_broker: Callable[..., DirectoryBroker], tmp_path: Path) -> None:
    broker = make_broker()
    broker.connect(timeout=1)
    broker.declare([Queue("q")])
    (tmp_path / "spool/queues/q/waiting/not-a-message").write_bytes(b"what is this")
    broker.publish([Message(b"good", "q")])
    consumer = broker.consumer([Queue("q")])
    assert [found.body for found in consumer.receive(5, 5.0)] == [b"good"]
    assert len(list((tmp_path / "spool/broken").iterdir())) == 1
    broker.close()


def test_a_queue_name_cannot_lead_out_of_the_directory(
    make_broker: Callable[..., DirectoryBroker], tmp_path: Path
) -> None:
    broker = make_broker()
    broker.connect(timeout=1)
    for name in ("..", "../../x", "/etc", "."):
        broker.publish([Message(b"in", name)])
        assert broker.size([name]) == {name: 1}
    assert [path.name for path in tmp_path.iterdir()] == ["spool"]
    broker.close()


def test_errors_say_where(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="names no directory"):
        DirectoryBroker(URL.parse("directory://"))
    (tmp_path / "file").write_text("")
    broker = DirectoryBroker(URL.parse(f"directory://{tmp_path}/file"))
    with pytest.raises(OperationalError, match="file"):
        broker.connect(timeout=1)
    with pytest.raises(PublishError) as caught:
        broker.publish([Message(b"x", "q")])
    assert len(caught.value.failed) == 1
