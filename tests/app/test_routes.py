"""Where messages go: default queue, options, ``task_routes`` in all its forms, queue objects of umbel and kombu."""

from __future__ import annotations

import re
from typing import Any

import kombu
import pytest

from umbel import Binding, Exchange, Queue, Umbel
from umbel.model.exceptions import ConfigurationError, QueueNotFound


def _sent(app: Umbel, name: str = "shop.pay", **options: Any) -> tuple[str, str, str | None]:
    _, outgoing = app.make_sender(name, {}).make((), {}, options)
    return outgoing.message.exchange, outgoing.message.routing_key, outgoing.queue.name if outgoing.queue else None


def test_the_default_queue(app: Umbel) -> None:
    assert _sent(app) == ("", "celery", "celery")
    (queue,) = app.queues.consume_from
    assert queue == Queue("celery", (Binding(Exchange("celery", "direct"), "celery"),))


def test_another_default_queue(app: Umbel) -> None:
    app.conf.task_default_queue = "jobs"
    assert _sent(app) == ("", "jobs", "jobs")


def test_the_queue_option_wins(app: Umbel) -> None:
    app.conf.task_routes = {"shop.*": {"queue": "routed"}}
    assert _sent(app) == ("", "routed", "routed")
    assert _sent(app, queue="mine") == ("", "mine", "mine")
    assert _sent(app, exchange="elsewhere", routing_key="key") == ("elsewhere", "key", None)


def _function(name: str, args: Any, kwargs: Any, options: Any, task: Any = None, **_: Any) -> Any:
    return {"queue": "by-function", "priority": 4} if name.startswith("shop") else None


class ByClass:
    """A router of the old kind."""

    def route_for_task(self, task: str, args: Any = None, kwargs: Any = None) -> Any:
        """Where to."""
        return "by-class" if task == "shop.pay" else None


@pytest.mark.parametrize(
    ("routes", "queue"),
    [
        ({"shop.pay": "exact"}, "exact"),
        ({"shop.pay": {"queue": "exact"}, "shop.*": {"queue": "glob"}}, "exact"),
        ({"shop.*": {"queue": "glob"}}, "glob"),
        ({"other.*": {"queue": "glob"}}, "celery"),
        ([("shop.*", {"queue": "pairs"}), ("*", {"queue": "all"})], "pairs"),
        ([("x.*", {"queue": "pairs"}), ("*", {"queue": "all"})], "all"),
        ([(re.compile(r"shop\.(pay|refund)"), {"queue": "regex"})], "regex"),
        (_function, "by-function"),
        ((_function, {"*": "second"}), "by-function"),
        (ByClass(), "by-class"),
        ([{"nobody": "x"}, ByClass], "by-class"),
        ("fnmatch.translate", None),
    ],
)
def test_task_routes(app: Umbel, routes: Any, queue: str | None) -> None:
    app.conf.task_routes = routes
    if queue is None:
        with pytest.raises(TypeError):
            _sent(app)
    else:
        assert _sent(app) == ("", queue, queue)


@pytest.mark.parametrize("routes", ["no.such.module", 17, [17]])
def test_wrong_routes_say_so(app: Umbel, routes: Any) -> None:
    with pytest.raises(ConfigurationError):
        app.conf.task_routes = routes
        _sent(app)


def test_missing_queues_are_refused_when_they_may_not_be_made(app: Umbel) -> None:
    app.conf.task_create_missing_queues = False
    with pytest.raises(QueueNotFound, match="task_create_missing_queues is off"):
        _sent(app, queue="nowhere")


def test_kombu_queues_are_read_by_their_attributes(app: Umbel) -> None:
    media = kombu.Exchange("media", type="topic")
    app.conf.task_queues = [
        kombu.Queue("celery", kombu.Exchange("celery"), routing_key="celery"),
        kombu.Queue("videos", media, routing_key="media.video.#", queue_arguments={"x-max-priority": 5}),
        kombu.Queue("many", [kombu.binding(media, "a"), kombu.binding(kombu.Exchange("b"), "c")]),
    ]
    videos = app.queues["videos"]
    assert videos.bindings == (Binding(Exchange("media", "topic"), "media.video.#"),)
    assert videos.max_priority == 5
    assert {bound.exchange.name for bound in app.queues["many"].bindings} == {"media", "b"}
    assert _sent(app, queue="videos", routing_key="media.video.short") == ("media", "media.video.short", "videos")


def test_queues_as_mappings(app: Umbel) -> None:
    app.conf.task_queues = {"fast": {"exchange": "lane", "exchange_type": "direct", "routing_key": "quick"}}
    assert app.queues["fast"].bindings == (Binding(Exchange("lane"), "quick"),)


def test_selecting_queues(app: Umbel) -> None:
    app.queues.select(["a", "b"])
    assert [queue.name for queue in app.queues.consume_from] == ["a", "b"]
    app.queues.deselect(["b"])
    app.queues.add("c")
    assert [queue.name for queue in app.queues.consume_from] == ["a", "c"]


def test_a_quorum_queue_says_so(app: Umbel) -> None:
    app.conf.task_default_queue_type = "quorum"
    assert app.queues["celery"].arguments == {"x-queue-type": "quorum"}


def test_topic_routing_reaches_the_bound_queues(app: Umbel, running: Any) -> None:
    exchange = Exchange("animals", "topic")
    app.conf.task_queues = [Queue("cats", (Binding(exchange, "cat.*"),)), Queue("dogs", (Binding(exchange, "dog.*"),))]
    app.conf.task_default_queue = "cats"

    @app.task
    def name() -> str:
        return "heard"

    running(app, queues=["cats", "dogs"])
    assert name.apply_async(queue="dogs", routing_key="dog.bark").get(timeout=5) == "heard"
    assert name.apply_async(exchange="animals", routing_key="cat.purr").get(timeout=5) == "heard"
