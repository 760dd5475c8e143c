"""Connections as programs for Celery ask an app for them."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from umbel import Umbel
from umbel.model.ids import uuid
from umbel_kernel.errors import OperationalError


@pytest.fixture
def app(redis_url: str) -> Iterator[Umbel]:
    app = Umbel("connecting", broker=redis_url, backend="disabled", set_as_current=False)
    app.conf.task_default_queue = f"test-{uuid()}"
    yield app
    app.connections.broker().delete([app.conf.task_default_queue])
    app.close()


def test_a_producer_of_the_pool_is_handed_to_calls(app: Umbel) -> None:
    @app.task(ignore_result=True)
    def add(x: int, y: int) -> None: ...

    with app.producer_or_acquire() as producer:
        for number in range(3):
            add.apply_async((number, 1), producer=producer)
        with app.producer_or_acquire(producer) as same:
            assert same is producer
    with app.producer_pool.acquire(block=True) as producer, producer.connection as connection:
        add.apply_async((4, 1), producer=producer, connection=connection)
    with app.pool.acquire(block=True) as connection:
        connection.connect()
        add.apply_async((5, 1), connection=connection)
    queue = app.conf.task_default_queue
    assert app.connections.broker().size([queue]) == {queue: 5}


def test_a_shared_connection_is_the_apps_and_a_new_one_is_not(app: Umbel) -> None:
    with app.connection_or_acquire() as shared:
        assert not shared.connected
        assert shared.connect()._broker is app.connections.broker()
    assert not shared.connected
    app.connections.broker().size([])
    for make in (app.connection, app.connection_for_read, app.connection_for_write, app.broker_connection):
        with make() as connection:
            assert connection.ensure_connection(max_retries=1).connected
            assert connection._broker is not app.connections.broker()
        assert not connection.connected
    with app.connection_or_acquire(connection) as same:
        assert same is connection


def test_a_broker_that_is_away_is_told_after_the_tries(app: Umbel, redis_url: str) -> None:
    away = app.connection_for_write("redis://user:secret@127.0.0.1:1/0")
    assert "secret" not in f"{away.as_uri()}{away!r}"
    assert away.as_uri(include_password=True) == "redis://user:secret@127.0.0.1:1/0"
    said: list[tuple[Exception, float]] = []
    began = time.monotonic()
    with pytest.raises(OperationalError, match=r"127\.0\.0\.1:1"):
        away.ensure_connection(
            lambda error, pause: said.append((error, pause)), max_retries=2, interval_start=0.05, interval_step=0.05
        )
    assert 0.15 <= time.monotonic() - began < 10
    assert [pause for _, pause in said] == [0.05, 0.1]
    with pytest.raises(OperationalError):
        away.ensure_connection(timeout=0.5, interval_start=1)
    with app.connection_for_write(redis_url) as there:
        assert there.ensure_connection(timeout=5).connected
