"""A configuration gives the same values here as in the installed Celery."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery

from umbel.config.settings import Settings

CASES: list[tuple[Any, str | None, dict[str, Any]]] = [
    ({"task_acks_late": True, "broker_pool_limit": None, "accept_content": ["json"]}, None, {}),
    ({"CELERY_ACKS_LATE": True, "CELERYD_CONCURRENCY": 3, "BROKER_HEARTBEAT": 7}, None, {"task_time_limit": 5}),
    ({"BROKER_HEARTBEAT": 7, "broker_heartbeat": 8}, None, {}),
    (SimpleNamespace(CELERY_TASK_DEFAULT_QUEUE="shop", TIME_ZONE="Asia/Tokyo", DEBUG=True), "CELERY", {}),
    (SimpleNamespace(CELERY_ACKS_LATE=True, CELERY_TASK_QUEUE_MAX_PRIORITY=9, task_x=1), "CELERY_", {}),
    (SimpleNamespace(my_task_time_limit=3, my_timezone="UTC"), "my", {"task_soft_time_limit": 2}),
    (
        {"task_serializer": "yaml", "result_serializer": "yaml"},
        None,
        {"CELERY_TASK_SERIALIZER": "json", "timezone": "UTC"},
    ),
    ({"task_default_queue": "shop", "task_default_exchange": "fair"}, None, {}),
]

NAMES = (
    "task_acks_late",
    "task_default_queue",
    "task_default_exchange",
    "task_default_routing_key",
    "task_queue_max_priority",
    "task_serializer",
    "task_soft_time_limit",
    "task_time_limit",
    "result_serializer",
    "broker_pool_limit",
    "broker_heartbeat",
    "broker_read_url",
    "accept_content",
    "worker_concurrency",
    "timezone",
    "result_backend",
)


@pytest.mark.parametrize(("source", "namespace", "changes"), CASES)
def test_a_source_with_changes(source: Any, namespace: str | None, changes: dict[str, Any]) -> None:
    theirs = Celery(set_as_current=False)
    ours = Settings(environ={})
    for name, value in changes.items():
        theirs.conf[name] = value
        ours[name] = value
    theirs.config_from_object(source, namespace=namespace)
    ours.set_source(source, namespace=namespace)
    assert {name: getattr(ours, name) for name in NAMES} == {name: getattr(theirs.conf, name) for name in NAMES}


def test_added_defaults_stand_above_the_source_and_below_changes() -> None:
    theirs = Celery(set_as_current=False)
    ours = Settings(environ={})
    theirs.config_from_object({"task_time_limit": 1, "task_soft_time_limit": 1})
    ours.set_source({"task_time_limit": 1, "task_soft_time_limit": 1})
    for add in (theirs.add_defaults, ours.add_defaults):
        add({"task_time_limit": 2, "task_soft_time_limit": 2})
        add(lambda: {"task_time_limit": 3, "task_soft_time_limit": 3, "worker_concurrency": 3})
    for conf in (theirs.conf, ours):
        conf.task_soft_time_limit = 4
        assert (conf.task_time_limit, conf.task_soft_time_limit, conf.worker_concurrency) == (3, 4, 3)


def test_a_source_given_later_takes_the_place_of_the_first() -> None:
    theirs = Celery(set_as_current=False)
    ours = Settings(environ={})
    for conf, give in ((theirs, theirs.config_from_object), (ours, ours.set_source)):
        values = conf.conf if isinstance(conf, Celery) else conf
        values.task_time_limit = 9
        give({"task_soft_time_limit": 1, "timezone": "UTC"})
        assert values.task_soft_time_limit == 1
        values.worker_concurrency = 5
        give({"task_soft_time_limit": 2})
        values = conf.conf if isinstance(conf, Celery) else conf
        assert (values.task_soft_time_limit, values.timezone) == (2, None)
        assert (values.task_time_limit, values.worker_concurrency) == (9, None)


@pytest.mark.parametrize(
    "word", ["worker.prefetch_multiplier=3", "task_always_eager=yes", "result_expires=(int)30", ".concurrency=(int)4"]
)
def test_the_command_line(word: str) -> None:
    theirs = Celery(set_as_current=False)
    ours = Settings(environ={})
    theirs.config_from_cmdline([word], namespace="worker")
    ours.set_cmdline([word], namespace="worker")
    assert ours.changes
    for name, value in ours.changes.items():
        assert theirs.conf[name] == value
