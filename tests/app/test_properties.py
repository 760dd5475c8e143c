"""Options that calls do not know are properties of the message, for brokers that have options of their own."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from umbel import Umbel, chain, group
from umbel.app.plan import KNOWN
from umbel.model.ids import uuid

FIFO = {"MessageGroupId": "orders", "MessageDeduplicationId": "order-7"}


@pytest.fixture
def make(redis_url: str) -> Iterator[Callable[..., Any]]:
    """Makes an app on a broker, with a queue of its own."""
    made: list[Any] = []

    def app_on(broker: str) -> Any:
        app = Umbel("properties", broker=broker, set_as_current=False, task_default_queue=f"test-{uuid()}")
        app.task(name="add")(lambda x, y=0: x + y)
        made.append(app)
        return app

    yield app_on
    for app in made:
        app.connections.broker().delete([app.conf.task_default_queue])
        app.close()


def received(app: Any) -> list[Any]:
    """What is queued."""
    queue = app.queues[app.conf.task_default_queue]
    consumer = app.connections.broker().consumer([queue])
    try:
        found = list(consumer.receive(10, 5))
        consumer.ack(found)
    finally:
        consumer.close()
    return found


@pytest.mark.parametrize("broker", ["memory://{name}", "kombu+memory://{name}", "sqlite:///{folder}/broker.db"])
def test_they_arrive_with_the_message(make: Any, broker: str, tmp_path: Any) -> None:
    app = make(broker.format(name=uuid(), folder=tmp_path))
    add = app.tasks["add"]
    add.apply_async((1, 2), **FIFO)
    add.apply_async((1, 2), **{**FIFO, "MessageGroupId": "others"})
    add.apply_async((1, 2))
    found = sorted(str(each.properties.get("MessageGroupId")) for each in received(app))
    assert found == ["None", "orders", "others"]


def test_they_stand_among_the_properties_where_programs_of_kombu_look(make: Any, redis_url: str) -> None:
    app = make(redis_url)
    app.tasks["add"].s(1).set(**FIFO).apply_async()
    with redis.Redis.from_url(redis_url) as direct:
        envelope = json.loads(direct.lindex(app.conf.task_default_queue, 0))
    assert {name: envelope["properties"][name] for name in FIFO} == FIFO


def test_a_task_may_have_them_and_the_parts_of_a_workflow_too(make: Any) -> None:
    app = make(f"memory://{uuid()}")
    app.tasks["add"].apply_async((1,), MessageGroupId=None)
    group(app.tasks["add"].s(1).set(MessageGroupId="a"), app.tasks["add"].s(2)).apply_async()
    chain(app.tasks["add"].s(1).set(MessageGroupId="b"), app.tasks["add"].s(2)).apply_async()
    app.tasks["add"].s(1).stamp(who="me").apply_async(MessageGroupId="c")
    found = [each.properties for each in received(app)]
    assert found == [{}, {"MessageGroupId": "a"}, {}, {"MessageGroupId": "b"}, {"MessageGroupId": "c"}]


def test_no_option_that_celery_knows_is_one() -> None:
    celery, amqp = pytest.importorskip("celery"), pytest.importorskip("celery.app.amqp")
    kombu = pytest.importorskip("kombu")
    named = set()
    for function in (celery.Celery.send_task, celery.Task.apply_async, kombu.Producer.publish):
        named |= set(inspect.signature(function).parameters)
    named |= set(inspect.signature(amqp.AMQP.as_task_v2).parameters)
    others = {"self", "name", "args", "kwargs", "options", "properties", "body", "callbacks", "errbacks"}
    assert named - others - KNOWN == {"create_sent_event", "now", "timezone"}, "what callers do not give"
