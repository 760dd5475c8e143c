"""A server that is stopped, short of memory or impatient, and workers that go on."""

from __future__ import annotations

import signal
import threading
import time
from typing import Any

import pytest

from umbel_broker_amqp import AmqpBroker
from umbel_kernel.errors import PublishError
from umbel_kernel.spi.message import Message
from umbel_kernel.spi.topology import Queue
from umbel_kernel.url import URL

pytestmark = pytest.mark.slow


def test_a_server_short_of_memory_takes_nothing_and_says_why(rabbit: Any) -> None:
    broker = AmqpBroker(URL.parse(rabbit.url), {"broker_heartbeat": 2})
    queue = Queue("short-of-memory")
    broker.declare([queue])
    broker.publish([Message(b"before", queue.name)])
    consumer = broker.consumer([queue])
    rabbit.tell("set_vm_memory_high_watermark", "absolute", "1")
    try:
        message = Message(b"meanwhile", queue.name)
        began = time.monotonic()
        with pytest.raises(PublishError, match=r"takes no messages: low on memory") as caught:
            broker.publish([message], timeout=1.0)
        assert time.monotonic() - began < 2
        assert list(caught.value.failed) == [message]
        # Who reads is not concerned, and is kept alive.
        held = consumer.receive(1, 5)
        assert [delivery.body for delivery in held] == [b"before"]
        consumer.ack(held)
        assert consumer.receive(1, 6) == []
        began = time.monotonic()
        with pytest.raises(PublishError, match="takes no messages"):
            for _ in range(1000):
                broker.post([message], timeout=1.0)
                time.sleep(0.01)
        assert time.monotonic() - began < 5
    finally:
        rabbit.tell("set_vm_memory_high_watermark", "0.4")
    broker.publish([Message(b"after", queue.name)])
    bodies: list[bytes] = []
    while taken := consumer.receive(10, 1):
        bodies += [delivery.body for delivery in taken]
        consumer.ack(taken)
    assert bodies[-1] == b"after"
    broker.close()


def test_a_task_that_takes_longer_than_the_server_waits_runs_once_and_the_log_says_what_to_set(
    rabbit: Any, site: Any
) -> None:
    rabbit.tell("eval", "application:set_env(rabbit, consumer_timeout, 3000).")
    made = site(rabbit.url, task_acks_late=True)
    try:
        made.work("-P", "threads", "-c", "2")
        made.wait_ready()
        made.send(1, seconds=12)
        made.wait(lambda: made.begun()[1], "the start")
        made.wait(lambda: made.done()[1], "the end")
        made.send(2)
        made.wait(lambda: made.done()[2], "the next task")
        time.sleep(4)
        assert made.begun() == {1: 1, 2: 1}
        broker = made.app.connections.broker()
        assert broker.size([made.queue]) == {made.queue: 0}
        said = [line for line in made.log() if "consumer_timeout" in line]
        assert said
        assert "rabbitmq.conf" in said[0] and "x-consumer-timeout" in said[0]
        assert len(said) <= 6
        assert made.workers[0].poll() is None
    finally:
        rabbit.tell("eval", "application:set_env(rabbit, consumer_timeout, 1800000).")


@pytest.mark.parametrize(("pool", "kind"), [("prefork", "classic"), ("threads", "quorum")])
def test_a_server_started_again_five_times_under_load(rabbit: Any, site: Any, pool: str, kind: str) -> None:
    made = site(rabbit.url, task_acks_late=True, task_default_queue_type=kind, broker_publish_timeout=30.0)
    made.app.conf.task_publish_retry_policy = {"max_retries": None, "interval_step": 0.2, "interval_max": 0.5}
    for _ in range(2):
        made.work("-P", pool, "-c", "2")
    made.wait_ready(0)
    made.wait_ready(1)
    sent: list[int] = []
    stop = threading.Event()

    def send() -> None:
        while not stop.is_set():
            made.send(len(sent), seconds=0.005)
            sent.append(len(sent))
            time.sleep(0.01)

    sender = threading.Thread(target=send)
    sender.start()
    took: list[float] = []
    try:
        for turn in range(5):
            time.sleep(1)
            rabbit.stop(signal.SIGKILL if turn % 2 else signal.SIGTERM)
            time.sleep(1)
            rabbit.start()
            back = time.time()
            assert all(worker.poll() is None for worker in made.workers)
            made.wait(lambda back=back: max(made.ended().values(), default=0) > back, "the next task")
            took.append(max(0.0, min(at for at in made.ended().values() if at > back) - back))
    finally:
        stop.set()
        sender.join(40)
    made.wait(lambda: len(made.done()) == len(sent), "every task", 60)
    print(f"{pool} {kind}: {len(sent)} tasks, lost 0, back after {[f'{each:.1f}' for each in took]} s")
    assert max(took) < 8
    assert sum(count > 1 for count in made.done().values()) <= 5 * 40
    assert all(worker.poll() is None for worker in made.workers)
    assert len(made.log(0)) < 5 * 30 + 3 * len(sent)
