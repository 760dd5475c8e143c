"""Results that never come, that vanish while they are waited for, and stores that go away meanwhile."""

from __future__ import annotations

import asyncio
import pickle
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from umbel.app.app import Umbel
from umbel.model.exceptions import TimeoutError
from umbel.results import GroupResult, patience
from umbel_kernel.errors import OperationalError

Done = Callable[..., None]
every_backend = pytest.mark.parametrize("app", ["memory", "redis", "sqlite", "rpc"], indirect=True)
LENIENT = 10.0
"""Seconds beyond its timeout that a call may take on a busy machine, far from the half minute of one that has none."""


def within(seconds: float, call: Callable[[], Any]) -> None:
    began = time.monotonic()
    call()
    assert seconds - 0.05 <= time.monotonic() - began < seconds + LENIENT


@every_backend
def test_a_timeout_names_the_task_and_its_state(app: Any, done: Done) -> None:
    done("a", {"pid": 1}, "STARTED")
    with pytest.raises(TimeoutError, match=r"task a .* 0\.1 seconds; its state is STARTED, and it may") as caught:
        within(0.1, lambda: app.AsyncResult("a").get(timeout=0.1))
    assert (caught.value.task_id, caught.value.state) == ("a", "STARTED")
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.args, again.task_id, again.state) == (caught.value.args, "a", "STARTED")
    with pytest.raises(TimeoutError, match=r"task b .* nothing is known of it \(PENDING\)") as caught:
        app.AsyncResult("b").get(timeout=0)
    assert (caught.value.task_id, caught.value.state) == ("b", "PENDING")


@every_backend
def test_a_result_that_vanishes_is_told_from_one_that_never_was(app: Any, done: Done) -> None:
    done("a", None, "STARTED")
    result = app.AsyncResult("a")
    assert result.state == "STARTED"
    flush = threading.Timer(0.1, app.backend.forget, ("a",))
    flush.start()
    with pytest.raises(TimeoutError, match=r"it was STARTED before, .* now \(PENDING\): it has expired or was deleted"):
        within(0.3, lambda: result.get(timeout=0.3))
    flush.join()


@every_backend
def test_a_groups_timeout_names_those_that_are_missing(app: Any, done: Done) -> None:
    group = GroupResult("g", [app.AsyncResult(task_id) for task_id in ("a", "b", "c")], app=app)
    done("a", 1)
    done("b", None, "STARTED")
    with pytest.raises(TimeoutError, match=r"^2 of 3 results .* 0\.1 seconds: b \(STARTED\), c \(PENDING\)") as caught:
        within(0.1, lambda: group.get(timeout=0.1))
    assert (caught.value.task_id, caught.value.state) == ("b", "STARTED")
    assert "1 of them are unknown to the store" in str(caught.value)
    with pytest.raises(TimeoutError, match="2 of 3"):
        list(group.iter_native(timeout=0))
    done("b", 2)
    done("c", 3)
    assert group.get(timeout=0) == [1, 2, 3]


def test_many_that_are_missing_are_counted(app: Any) -> None:
    group = GroupResult("g", [app.AsyncResult(f"id{number}") for number in range(200)], app=app)
    with pytest.raises(TimeoutError, match="200 of 200") as caught:
        group.get(timeout=0)
    assert "and 195 more" in str(caught.value) and len(str(caught.value)) < 500


@pytest.fixture
def fragile(redis_server: Any) -> Iterator[Any]:
    """An app whose results are on that server."""
    app = Umbel("fragile", broker="memory://fragile", backend=redis_server.url, set_as_current=False)
    app.AsyncResult("warm").ready()
    yield app
    app.close()


@pytest.fixture
def soon() -> Iterator[Callable[..., None]]:
    """Calls something in a thread, so many seconds later."""
    threads: list[threading.Timer] = []

    def start(after: float, call: Callable[..., Any], *args: Any) -> None:
        threads.append(threading.Timer(after, call, args))
        threads[-1].start()

    yield start
    for thread in threads:
        thread.join(30)


def flush(server: Any) -> None:
    subprocess.run(["redis-cli", "-p", str(server.port), "flushall"], check=True, capture_output=True)


def test_a_flush_in_the_middle_ends_with_the_truth(redis_server: Any, fragile: Any, soon: Callable[..., None]) -> None:
    fragile.backend.store_result("a", None, "STARTED")
    result = fragile.AsyncResult("a")
    assert result.state == "STARTED"
    soon(0.1, flush, redis_server)
    with pytest.raises(TimeoutError, match="expired or was deleted"):
        within(0.5, lambda: result.get(timeout=0.5))
    fragile.backend.store_result("a", 1, "SUCCESS")
    group = GroupResult("g", [fragile.AsyncResult("a"), fragile.AsyncResult("b")], app=fragile)
    group.save()
    soon(0.1, flush, redis_server)
    with pytest.raises(TimeoutError, match=r"1 of 2 results .* b \(PENDING\)"):
        within(0.5, lambda: group.get(timeout=0.5))
    assert GroupResult.restore("g", app=fragile) is None
    assert group[0].get(timeout=0) == 1, "what has come is not forgotten"


def test_a_store_that_goes_away_is_told_in_time(redis_server: Any, fragile: Any) -> None:
    group = GroupResult("g", [fragile.AsyncResult("a"), fragile.AsyncResult("b")], app=fragile)
    child = fragile.AsyncResult("c", parent=fragile.AsyncResult("p"))
    for each in (fragile.AsyncResult("a"), child, group):
        began = time.monotonic()
        with pytest.raises(OperationalError):
            each.get(timeout=0.5, interval=0.01, on_interval=redis_server_stop(redis_server))
        assert 0.45 <= time.monotonic() - began < 0.5 + LENIENT, "it may come back until the very end"
        redis_server.start()


def redis_server_stop(server: Any) -> Callable[[], None]:
    """Stops a server when first called."""
    return lambda: server.stop() if server.process is not None else None


def test_a_store_that_comes_back_is_used(redis_server: Any, fragile: Any, soon: Callable[..., None]) -> None:
    def restart(task_id: str) -> None:
        redis_server.stop()
        redis_server.start()
        fragile.backend.store_result(task_id, task_id, "SUCCESS")

    soon(0.1, restart, "a")
    assert fragile.AsyncResult("a").get(timeout=30) == "a"
    seen: list[str] = []
    fragile.backend.store_result("c", None, "STARTED")
    soon(0.1, restart, "c")
    assert fragile.AsyncResult("c").get(30, interval=0.02, on_message=lambda got: seen.append(got["status"])) == "c"
    assert seen[-1] == "SUCCESS"
    soon(0.1, restart, "d")
    child = fragile.AsyncResult("d", parent=fragile.AsyncResult("p"))
    assert child.get(timeout=30) == "d"
    soon(0.1, restart, "e")
    assert GroupResult("g", [fragile.AsyncResult("e")], app=fragile).get(timeout=30, on_interval=lambda: None) == ["e"]

    async def main() -> Any:
        return await asyncio.wait_for(fragile.AsyncResult("b"), 30)

    soon(0.1, restart, "b")
    assert asyncio.run(main()) == "b"


def test_without_a_timeout_a_store_is_waited_for_some_time(
    redis_server: Any, fragile: Any, soon: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "LONGEST", 0.5)
    soon(0.1, redis_server.stop)
    with pytest.raises(OperationalError):
        fragile.AsyncResult("a").get()

    async def main() -> None:
        results = [fragile.AsyncResult(task_id) for task_id in "bcd"]
        ended = await asyncio.wait_for(asyncio.gather(*results, return_exceptions=True), 30)
        assert len(ended) == 3 and all(isinstance(each, OperationalError) for each in ended)

    asyncio.run(main())


def test_a_group_that_expired_is_not_restored(app: Any) -> None:
    assert GroupResult.restore("never", app=app) is None
    assert app.backend.restore_group("never") is None
