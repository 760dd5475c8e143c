"""Tasks that are coroutine functions, on every pool."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from umbel import Umbel, chain, chord, group
from umbel.app.task import Task
from umbel.model import current
from umbel.model.exceptions import (
    Ignore,
    MaxRetriesExceededError,
    Reject,
    SoftTimeLimitExceeded,
    TaskRevokedError,
    TimeLimitExceeded,
)
from umbel.results.joining import allow_join_result
from umbel_kernel.plugins import load
from umbel_kernel.spi.pool import PoolCapability

SLOW = [pytest.param(pool, marks=pytest.mark.slow) for pool in ("gevent", "eventlet")]
POOLS = ["asyncio", "threads", "prefork", "solo", *SLOW]
WAIT = 20
Start = Callable[..., Any]


class Point(BaseModel):
    x: int


def tasks(app: Umbel, folder: Path) -> dict[str, Any]:
    """The tasks that the tests call."""

    def note(text: str) -> None:
        with open(folder / "notes", "a") as file:
            file.write(f"{text}\n")

    class Noting(Task):
        async def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
            await asyncio.sleep(0)
            note("before_start")

        async def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
            await asyncio.sleep(0)
            note(f"on_success {retval}")

        async def on_failure(self, exc: BaseException, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
            await asyncio.sleep(0)
            note(f"on_failure {type(exc).__name__}")

        def after_return(self, status: str, retval: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
            note(f"after_return {status}")

    @app.task(name="add")
    async def add(x: int, y: int) -> int:
        await asyncio.sleep(0)
        return x + y

    @app.task(name="plain")
    def plain(x: int) -> int:
        return x + 1

    @app.task(name="fail")
    async def fail() -> None:
        await asyncio.sleep(0)
        raise ValueError("no luck")

    @app.task(name="noting", base=Noting)
    async def noting(fails: bool) -> str:
        note("run")
        if fails:
            raise ValueError("no luck")
        return "done"

    @app.task(name="noting_plain", base=Noting)
    def noting_plain() -> str:
        note("run")
        return "done"

    @app.task(name="who", bind=True)
    async def who(self: Any, seconds: float) -> list[Any]:
        before = [self.request.id, current.current_task.request.id]
        await asyncio.sleep(seconds)
        aside = await asyncio.create_task(_request_id())
        return [*before, self.request.id, aside]

    @app.task(name="again", bind=True, max_retries=2, default_retry_delay=0)
    async def again(self: Any, until: int) -> int:
        await asyncio.sleep(0)
        if self.request.retries < until:
            raise self.retry(countdown=0)
        return int(self.request.retries)

    @app.task(name="auto", bind=True, autoretry_for=(KeyError,), max_retries=3, default_retry_delay=0)
    async def auto(self: Any) -> int:
        await asyncio.sleep(0)
        if self.request.retries < 2:
            raise KeyError("not yet")
        return int(self.request.retries)

    @app.task(name="says", bind=True)
    async def says(self: Any, what: str) -> Any:
        await asyncio.sleep(0)
        if what == "ignore":
            raise Ignore("no matter")
        if what == "reject":
            raise Reject("no", requeue=False)
        if what == "state":
            self.update_state(state="HALFWAY", meta={"part": 1})
            return self.AsyncResult(self.request.id).state
        if what == "replace":
            raise self.replace(add.s(20, 22))
        if what == "call":
            with allow_join_result():
                return await add.delay(3, 4)
        if what == "directly":
            return [await add(1, 2), current.current_task.name]
        if what == "gather":
            with allow_join_result():
                return await asyncio.gather(*(add.delay(number, 1) for number in range(5)))
        if what == "forbidden":
            return await add.delay(3, 4)
        return what

    @app.task(name="raises")
    async def raises(what: str) -> None:
        await asyncio.sleep(0)
        raise {"exit": SystemExit(3), "interrupt": KeyboardInterrupt(), "cancel": asyncio.CancelledError()}[what]

    @app.task(name="raises_plain")
    def raises_plain(what: str) -> None:
        raise {"exit": SystemExit(3), "interrupt": KeyboardInterrupt(), "cancel": asyncio.CancelledError()}[what]

    @app.task(name="model", pydantic=True)
    async def model(point: Point) -> Point:
        await asyncio.sleep(0)
        return Point(x=point.x + 1)

    @app.task(name="loop")
    async def loop() -> int:
        return id(asyncio.get_running_loop())

    @app.task(name="slow", bind=True, soft_time_limit=0.3)
    async def slow(self: Any, how: str) -> Any:
        try:
            async with asyncio.TaskGroup() as members:
                members.create_task(asyncio.sleep(60))
                await asyncio.sleep(60)
        except* SoftTimeLimitExceeded as error:
            note(f"soft {error.exceptions[0].args}")
            if how == "raise":
                raise
        if how == "rest":
            await asyncio.sleep(0.01)
            return "rested"
        return "tidied"

    @app.task(name="asks", bind=True)
    async def asks(self: Any) -> str:
        note(f"{self.request.id} asks")
        while not self.cancelled:
            await asyncio.sleep(0.01)
        note(f"{self.request.id} stops")
        return "stopped"

    @app.task(name="asks_plainly", bind=True)
    def asks_plainly(self: Any) -> str:
        note(f"{self.request.id} asks")
        while not self.cancelled:
            time.sleep(0.01)
        note(f"{self.request.id} stops")
        return "stopped"

    @app.task(name="waits", bind=True)
    async def waits(self: Any) -> None:
        note(f"{self.request.id} waits")
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            note(f"{self.request.id} cancelled")
            raise

    @app.task(name="slow_plainly", soft_time_limit=0.3)
    async def slow_plainly() -> None:
        await asyncio.sleep(60)

    return {task.name: task for task in app.tasks.values()}


async def _request_id() -> Any:
    await asyncio.sleep(0)
    return current.current_task.request.id


class Place:
    """An app with a worker of one pool."""

    pool = ""

    def __init__(self, app: Umbel, folder: Path) -> None:
        self.app, self._folder = app, folder
        self.tasks = tasks(app, folder)

    def call(self, name: str, *args: Any) -> Any:
        return self.tasks[name].delay(*args)

    def came(self, name: str, *args: Any) -> Any:
        return self.call(name, *args).get(timeout=WAIT)

    @property
    def capabilities(self) -> Any:
        return load("pools", self.pool).capabilities

    def until(self, done: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + WAIT
        while not done():
            assert time.monotonic() < end, f"waited in vain for {what}; {self.notes()}"
            time.sleep(0.01)

    def notes(self) -> list[str]:
        path = self._folder / "notes"
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture(params=POOLS)
def place(
    request: pytest.FixtureRequest, tmp_path: Path, make_current: Callable[[Umbel], Umbel], running: Start
) -> Place:
    url = f"sqlite:///{tmp_path}/umbel.db"
    app = make_current(Umbel("async", broker=url, backend=url, set_as_current=False))
    app.conf.broker_connection_timeout = 5.0
    made = Place(app, tmp_path)
    made.pool = request.param
    running(app, pool=request.param, concurrency=2 if request.param == "prefork" else 20)
    return made


def test_results_links_and_chords(place: Place) -> None:
    add, plain, fail = place.tasks["add"], place.tasks["plain"], place.tasks["fail"]
    assert place.came("add", 2, 3) == 5
    assert place.came("plain", 2) == 3
    assert chain(add.s(1, 2), plain.s(), add.s(10)).delay().get(timeout=WAIT) == 14
    assert group(add.s(number, 1) for number in range(6)).delay().get(timeout=WAIT) == [1, 2, 3, 4, 5, 6]
    assert chord([add.s(1, 1), plain.s(2), add.s(2, 2)], place.tasks["says"].s()).delay().get(timeout=WAIT) == [2, 3, 4]
    with pytest.raises(ValueError, match="no luck"):
        place.came("fail")
    failed = chord([add.s(1, 1), fail.s()], place.tasks["says"].s()).delay()
    with pytest.raises(Exception, match="no luck"):
        failed.get(timeout=WAIT)
    assert place.tasks["add"].starmap([(1, 2), (3, 4)]).delay().get(timeout=WAIT) == [3, 7]


def test_handlers_may_be_coroutine_functions(place: Place) -> None:
    assert place.came("noting", False) == "done"
    with pytest.raises(ValueError, match="no luck"):
        place.came("noting", True)
    assert place.came("noting_plain") == "done"
    good = ["before_start", "run", "on_success done", "after_return SUCCESS"]
    place.until(lambda: len(place.notes()) >= 12, "the last handler")
    assert place.notes() == [*good, "before_start", "run", "on_failure ValueError", "after_return FAILURE", *good]


def test_each_run_sees_its_own_request(place: Place) -> None:
    results = [place.call("who", 0.02 * (number % 3)) for number in range(10)]
    for result in results:
        assert result.get(timeout=WAIT) == [result.id] * 4


def test_retries(place: Place) -> None:
    assert place.came("again", 2) == 2
    assert place.came("auto") == 2
    with pytest.raises(MaxRetriesExceededError):
        place.came("again", 5)


def test_what_a_task_may_say(place: Place) -> None:
    assert place.came("says", "state") == "HALFWAY"
    assert place.came("says", "replace") == 42
    assert place.came("says", "directly") == [3, "says"]
    for word in ("ignore", "reject"):
        result = place.call("says", word)
        assert place.came("says", "after") == "after"
        assert result.state == "PENDING"


def test_a_coroutine_calls_tasks_and_awaits_them(place: Place) -> None:
    with pytest.raises(RuntimeError, match="must not wait for another task"):
        place.came("says", "forbidden")
    if place.pool != "solo":  # whose one slot the waiting task would hold
        assert place.came("says", "call") == 7
        assert place.came("says", "gather") == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("task", ["raises", "raises_plain"])
def test_whatever_a_task_raises_fails_it_alone(place: Place, task: str) -> None:
    for what, name in (("exit", "SystemExit"), ("interrupt", "KeyboardInterrupt"), ("cancel", "CancelledError")):
        result = place.call(task, what)
        with pytest.raises(Exception) as caught:
            result.get(timeout=WAIT)
        assert type(caught.value).__name__ == name
        assert result.state == "FAILURE"
        assert name in result.traceback
    assert place.came("add", 1, 1) == 2


def test_models(place: Place) -> None:
    assert place.came("model", {"x": 1}) == {"x": 2}
    assert place.came("model", Point(x=4)) == {"x": 5}
    with pytest.raises(TypeError):
        place.call("add", 1)


def test_a_slot_keeps_its_loop(place: Place) -> None:
    loops = [place.came("loop") for _ in range(6)]
    assert len(set(loops)) <= 2
    assert len(loops) > len(set(loops))


def test_a_soft_limit_is_raised_at_the_await(place: Place) -> None:
    if PoolCapability.SOFT_TIME_LIMIT not in place.capabilities:
        pytest.skip(f"the pool {place.pool} keeps no soft time limits")
    assert place.came("slow", "tidy") == "tidied"
    assert place.came("slow", "rest") == "rested"
    assert place.notes() == ["soft (0.3,)"] * 2
    with pytest.raises(Exception) as caught:
        place.came("slow", "raise")
    assert "Group" in type(caught.value).__name__
    result = place.call("slow_plainly")
    with pytest.raises(SoftTimeLimitExceeded):
        result.get(timeout=WAIT)
    assert result.state == "FAILURE"


def test_a_task_can_ask_whether_it_is_still_wanted(place: Place) -> None:
    for name in ("asks", "asks_plainly"):
        result = place.call(name)
        place.until(lambda result=result: f"{result.id} asks" in place.notes(), "the task to begin")
        place.app.control.revoke(result.id)
        place.until(lambda result=result: f"{result.id} stops" in place.notes(), "the task to see that it was revoked")
        assert result.get(timeout=WAIT) == "stopped"
        assert place.came("add", 1, 1) == 2


def test_a_coroutine_is_cancelled_when_it_is_terminated(place: Place) -> None:
    if PoolCapability.TERMINATE not in place.capabilities:
        pytest.skip(f"the pool {place.pool} cannot end a task that runs")
    result, other = place.call("waits"), place.call("who", 1.0)
    place.until(lambda: f"{result.id} waits" in place.notes(), "the task to begin")
    place.app.control.revoke(result.id, terminate=True)
    with pytest.raises(TaskRevokedError):
        result.get(timeout=WAIT)
    assert result.state == "REVOKED"
    assert other.get(timeout=WAIT)[0] == other.id
    if PoolCapability.ASYNC in place.capabilities:
        assert f"{result.id} cancelled" in place.notes()


def test_a_coroutine_over_its_hard_limit_is_ended(place: Place) -> None:
    if PoolCapability.HARD_TIME_LIMIT not in place.capabilities:
        pytest.skip(f"the pool {place.pool} keeps no hard time limits")
    result = place.tasks["waits"].apply_async(time_limit=0.3)
    with pytest.raises(TimeLimitExceeded):
        result.get(timeout=WAIT)
    assert place.came("add", 1, 1) == 2


def test_a_task_that_blocks_the_loop_is_named_and_the_worker_goes_on(
    app: Umbel, running: Start, caplog: pytest.LogCaptureFixture
) -> None:
    gate = threading.Event()
    app.conf.asyncio_stall = 0.1
    app.conf.asyncio_threads = 3

    @app.task(name="blocks")
    async def blocks() -> str:
        gate.wait(WAIT)
        return "at last"

    @app.task(name="plain")
    def plain() -> str:
        return "in a thread"

    worker = running(app, pool="asyncio", concurrency=10)
    blocked = blocks.delay()
    end = time.monotonic() + WAIT
    while f"task blocks[{blocked.id}] has held up the event loop" not in caplog.text:
        assert time.monotonic() < end, caplog.text
        time.sleep(0.01)
    assert plain.delay().get(timeout=WAIT) == "in a thread"
    assert worker.context.pool.info()["threads"] == 3
    gate.set()
    assert blocked.get(timeout=WAIT) == "at last"


def test_more_run_at_once_than_are_taken_in_one_turn(app: Umbel, running: Start) -> None:
    gate = threading.Event()
    most = 0
    now = 0

    @app.task(name="gated")
    async def gated() -> None:
        nonlocal most, now
        now += 1
        most = max(most, now)
        while not gate.is_set():
            await asyncio.sleep(0.05)
        now -= 1

    running(app, pool="asyncio", concurrency=1500)
    results = [gated.delay() for _ in range(1600)]
    end = time.monotonic() + WAIT
    while most < 1500:
        assert time.monotonic() < end, most
        time.sleep(0.01)
    gate.set()
    for result in results:
        result.get(timeout=WAIT)
    assert most == 1500


@pytest.mark.parametrize("pool", ["threads", "asyncio"])
def test_a_plain_task_that_asks_sees_a_cold_end(app: Umbel, running: Start, pool: str) -> None:
    began, saw = threading.Event(), threading.Event()

    @app.task(name="asks", bind=True)
    def asks(self: Any) -> None:
        began.set()
        end = time.monotonic() + WAIT
        while not self.cancelled and time.monotonic() < end:
            time.sleep(0.01)
        if self.cancelled:
            saw.set()

    worker = running(app, pool=pool)
    asks.delay()
    assert began.wait(WAIT)
    worker.terminate()
    assert saw.wait(WAIT)
