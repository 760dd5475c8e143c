"""Workers and clients whose connection is silent, cut again and again, or moved to another server."""

from __future__ import annotations

import socket
import subprocess
import sys
import textwrap
import threading
import time
from typing import Any

import psutil
import pytest

from umbel_broker_amqp import AmqpBroker
from umbel_kernel.errors import OperationalError, PublishError
from umbel_kernel.spi.message import Message
from umbel_kernel.spi.topology import Queue
from umbel_kernel.url import URL


def through(proxy: Any) -> str:
    return f"amqp://guest:guest@127.0.0.1:{proxy.port}//"


def spin(seconds: float) -> None:
    """Keep the interpreter busy."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


def test_heartbeats_go_on_while_nobody_uses_the_connections(amqp_url: str, queue: Queue) -> None:
    broker = AmqpBroker(URL.parse(amqp_url), {"broker_heartbeat": 1})
    broker.publish([Message(b"1", queue.name)])
    consumer = broker.consumer([queue])
    held = consumer.receive(1, 5)
    before = broker._outlet.epoch, consumer._session
    spin(5)
    broker.publish([Message(b"2", queue.name)])
    consumer.ack(held)
    assert [delivery.body for delivery in consumer.receive(1, 5)] == [b"2"]
    assert (broker._outlet.epoch, consumer._session) == before
    broker.close()


@pytest.mark.slow
@pytest.mark.parametrize("late", [True, False])
def test_a_long_task_on_solo_does_not_cost_the_connection(amqp_url: str, site: Any, late: bool) -> None:
    made = site(amqp_url, broker_heartbeat=2.0, task_acks_late=late)
    made.work("-P", "solo")
    made.wait_ready()
    made.send(1, seconds=10, spin=True)
    made.wait(lambda: made.done()[1], "the task")
    made.send(2)
    made.wait(lambda: made.done()[2], "the next task")
    assert made.begun() == {1: 1, 2: 1}
    assert not [line for line in made.log() if "lost" in line]
    made.app.connections.broker().delete([made.queue])


@pytest.mark.slow
@pytest.mark.parametrize("pool", ["prefork", "solo"])
def test_a_connection_that_falls_silent_is_noticed_with_default_settings(
    amqp_url: str, proxy: Any, site: Any, pool: str
) -> None:
    made = site(through(proxy), amqp_url)
    made.work("-P", pool, "-c", "2")
    made.wait_ready()
    made.send(1)
    made.wait(lambda: made.done()[1], "the first task")
    cpu, lines = made.cpu(), len(made.log())
    proxy.frozen.set()
    took = made.wait(lambda: any("silent for" in line for line in made.log()), "notice", 20)
    print(f"noticed after {took:.1f} s")
    assert took < 15
    made.send(2)
    time.sleep(30 - took)
    assert made.cpu() - cpu < 5
    assert len(made.log()) - lines < 60
    proxy.frozen.clear()
    proxy.cut()
    took = made.wait(lambda: made.done()[2], "the task sent meanwhile", 15)
    print(f"back after {took:.1f} s")
    assert made.workers[0].poll() is None
    made.app.connections.broker().delete([made.queue])


def test_a_publish_into_silence_ends_within_its_deadline(amqp_url: str, proxy: Any, queue: Queue) -> None:
    umbel = pytest.importorskip("umbel")
    app = umbel.Umbel("silence", broker=through(proxy), set_as_current=False)
    app.conf.update(task_default_queue=queue.name, broker_publish_timeout=2.0, task_publish_retry=False)
    app.send_task("silence.task")
    proxy.frozen.set()
    began = time.monotonic()
    with pytest.raises(OperationalError):
        for _ in range(100):
            app.send_task("silence.task")
            time.sleep(0.1)
    assert time.monotonic() - began < 6
    proxy.frozen.clear()
    proxy.cut()
    app.send_task("silence.task")
    app.close()


@pytest.mark.slow
def test_connections_that_are_reset_all_the_time(amqp_url: str, proxy: Any, site: Any) -> None:
    made = site(through(proxy), amqp_url, task_acks_late=True)
    made.work("-P", "prefork", "-c", "2")
    made.wait_ready()
    made.send(*range(2000), seconds=0.005)
    seconds = 20
    cpu, lines, end = made.cpu(), len(made.log()), time.monotonic() + seconds
    while time.monotonic() < end:
        proxy.cut()
        time.sleep(0.2)
    used, said = made.cpu() - cpu, [line for line in made.log()[lines:] if "note[" not in line]
    done = len(made.done())
    print(f"{done} tasks done, {used / seconds:.2f} of a core, {len(said) / seconds:.1f} lines a second")
    assert done > 50
    assert used / seconds < 0.34
    assert len(said) / seconds < 10
    made.wait(lambda: len(made.done()) == 2000, "every task", 60)
    assert made.workers[0].poll() is None
    made.app.connections.broker().delete([made.queue])


def test_a_worker_moves_to_the_next_server(amqp_url: str, proxies: Any, site: Any) -> None:
    first, second = proxies(), proxies()
    made = site([through(first), through(second)], amqp_url)
    made.work("-P", "threads", "-c", "2")
    made.wait_ready()
    made.send(1)
    made.wait(lambda: made.done()[1], "the first task")
    assert (len(first.sockets), len(second.sockets)) == (4, 0) or not second.sockets
    first.close()
    made.send(2)
    took = made.wait(lambda: made.done()[2], "the task after the first server's end", 10)
    print(f"moved within {took:.1f} s")
    assert second.sockets
    made.app.connections.broker().delete([made.queue])


@pytest.mark.parametrize("strategy", [None, "round-robin", "shuffle", lambda urls: reversed(urls)])
def test_a_client_finds_the_server_that_answers(amqp_url: str, queue: Queue, strategy: Any) -> None:
    umbel = pytest.importorskip("umbel")
    away = "amqp://user:sesame@127.0.0.1:1//"
    app = umbel.Umbel("moving", broker=f"{away};{amqp_url};{away}", set_as_current=False)
    app.conf.update(task_default_queue=queue.name, broker_failover_strategy=strategy)
    for _ in range(3):
        app.send_task("moving.task")
        app.connections.drop_current_broker()
    assert app.connections.broker().size([queue.name]) == {queue.name: 3}
    app.close()
    gone = umbel.Umbel("gone", broker=[away, away], set_as_current=False)
    gone.conf.update(broker_failover_strategy=strategy, task_publish_retry=False)
    with pytest.raises(OperationalError, match=r"user:\*\*@127") as caught:
        gone.send_task("moving.task")
    assert "sesame" not in str(caught.value)


def test_a_server_that_takes_connections_and_says_nothing_costs_its_share_of_the_time_once(
    amqp_url: str, queue: Queue
) -> None:
    umbel = pytest.importorskip("umbel")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        away = f"amqp://127.0.0.1:{silent.getsockname()[1]}//"
        app = umbel.Umbel("share", broker=[away, amqp_url], set_as_current=False)
        app.conf.update(task_default_queue=queue.name, broker_publish_timeout=3.0)
        took = []
        for _ in range(3):
            began = time.monotonic()
            app.send_task("share.task")
            took.append(time.monotonic() - began)
            app.connections.drop_current_broker()
        app.close()
    assert 1.4 < took[0] < 3
    assert max(took[1:]) < 1
    assert len(_ids(amqp_url, queue)) == 3


@pytest.mark.parametrize("kind", ["classic", "quorum"])
def test_a_queue_that_is_deleted_is_declared_again(amqp_url: str, site: Any, kind: str) -> None:
    made = site(amqp_url, task_default_queue_type=kind)
    made.work("-P", "threads", "-c", "2")
    made.wait_ready()
    made.send(1)
    made.wait(lambda: made.done()[1], "the first task")
    direct = AmqpBroker(URL.parse(amqp_url))
    direct.delete([made.queue])
    made.wait(lambda: any("the queue was deleted" in line for line in made.log()), "notice")
    made.wait(lambda: any("consuming again" in line for line in made.log()), "readiness")
    made.send(2)
    made.wait(lambda: made.done()[2], "the next task")
    direct.delete([made.queue])
    direct.close()


def test_many_threads_publish_through_cuts_and_lose_nothing(amqp_url: str, proxy: Any, queue: Queue) -> None:
    umbel = pytest.importorskip("umbel")
    app = umbel.Umbel("threads", broker=through(proxy), set_as_current=False)
    app.conf.update(task_default_queue=queue.name)
    app.conf.task_publish_retry_policy = {"max_retries": None, "interval_start": 0.05, "interval_max": 0.2}
    sent: list[str] = []

    def send() -> None:
        for _ in range(100):
            sent.append(app.send_task("threads.task").id)
            time.sleep(0.005)

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for _ in range(4):
        time.sleep(0.2)
        proxy.cut()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    app.close()
    assert _ids(amqp_url, queue) == set(sent)
    assert len(sent) == 800


def _ids(url: str, queue: Queue) -> set[str]:
    """Empty a queue; returns the ids of the tasks in it."""
    broker = AmqpBroker(URL.parse(url))
    consumer = broker.consumer([queue])
    found: set[str] = set()
    while taken := consumer.receive(500, 0.5):
        found |= {str(delivery.correlation_id) for delivery in taken}
        consumer.ack(taken)
    broker.close()
    return found


FORKS = """
    import atexit, os, sys, threading, time
    from umbel import Umbel

    def say():
        # Not by print, whose lock another thread may hold while this one forks.
        os.write(1, app.send_task("forks.task").id.encode() + b"\\n")

    def at_end():
        say()

    {before}
    app = Umbel("forks", broker=sys.argv[1], task_default_queue=sys.argv[2])
    {after}
    busy = True

    def send():
        while busy:
            say()
            time.sleep(0.001)

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    children = []
    for _ in range(20):
        time.sleep(0.02)
        pid = os.fork()
        if pid == 0:
            for _ in range(5):
                say()
            app.close()
            os._exit(0)
        children.append(pid)
    for pid in children:
        assert os.waitpid(pid, 0)[1] == 0
    busy = False
    for thread in threads:
        thread.join()
"""


@pytest.mark.parametrize("order", ["before", "after"])
def test_forks_among_publishing_threads_and_calls_at_the_end(amqp_url: str, queue: Queue, order: str) -> None:
    lines = {"before": "", "after": "", order: "atexit.register(at_end)"}
    program = textwrap.dedent(FORKS).format(**lines)
    done = subprocess.run(
        [sys.executable, "-c", program, amqp_url, queue.name], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    said = set(done.stdout.split())
    assert len(said) >= 101
    assert _ids(amqp_url, queue) == said


def test_the_thread_of_heartbeats_ends_with_the_last_connection(amqp_url: str, queue: Queue) -> None:
    program = """
        import sys, threading, time
        from umbel_broker_amqp import AmqpBroker
        from umbel_kernel.url import URL
        broker = AmqpBroker(URL.parse(sys.argv[1]))
        for _ in range(3):
            broker.connect(timeout=5)
            names = [thread.name for thread in threading.enumerate()]
            assert names.count("umbel-amqp-heartbeat") == 1, names
            broker.close()
        del broker
        from umbel_broker_amqp.heart import heart
        heart._changed.set()
        time.sleep(0.2)
        assert threading.active_count() == 1, threading.enumerate()
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(program), amqp_url], check=True, timeout=30)


def test_a_stopped_process_does_not_take_its_own_silence_for_the_servers(amqp_url: str, queue: Queue) -> None:
    program = """
        import sys, time
        from umbel_broker_amqp import AmqpBroker
        from umbel_kernel.spi.topology import Queue
        from umbel_kernel.url import URL
        broker = AmqpBroker(URL.parse(sys.argv[1]), {"broker_heartbeat": 12})
        consumer = broker.consumer([Queue(sys.argv[2])])
        consumer.receive(1, 0)
        print("ready", flush=True)
        end = time.monotonic() + 9
        while time.monotonic() < end:
            consumer.receive(1, 0.5)
        print("well", flush=True)
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program), amqp_url, queue.name], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    psutil.Process(process.pid).suspend()
    time.sleep(6)
    psutil.Process(process.pid).resume()
    assert process.communicate(timeout=30)[0] == "well\n"


def test_a_message_that_nobody_takes_in_time_is_given_back(proxy: Any, queue: Queue) -> None:
    broker = AmqpBroker(URL.parse(through(proxy)))
    broker.connect(timeout=5)
    proxy.frozen.set()
    began = time.monotonic()
    with pytest.raises(PublishError):
        broker.publish([Message(b"x" * 20_000_000, queue.name)], timeout=1.0)
    assert time.monotonic() - began < 2.5
    proxy.frozen.clear()
    proxy.cut()
    broker.close()
