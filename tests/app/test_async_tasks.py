"""Tasks that are coroutine functions, called directly and eagerly."""

from __future__ import annotations

import asyncio
import functools
import os
import subprocess
import sys
import threading
from typing import Any

import pytest

from umbel import Umbel, chain, group
from umbel.app import slot_loop
from umbel.app.tracing import is_async, make_tracer
from umbel.model import current
from umbel.model.exceptions import SoftTimeLimitExceeded
from umbel.model.request import Context


@pytest.fixture
def add(app: Umbel) -> Any:
    @app.task(name="add")
    async def add(x: int, y: int) -> int:
        await asyncio.sleep(0)
        return x + y

    return add


def test_a_direct_call_makes_a_coroutine(app: Umbel) -> None:
    @app.task(bind=True, name="direct")
    async def direct(self: Any, x: int) -> list[Any]:
        await asyncio.sleep(0)
        return [x, self.request.called_directly, self.request.args, current.current_task.name]

    async def both() -> Any:
        made = direct(1)
        assert asyncio.iscoroutine(made)
        assert current.get_current_task() is None
        return await asyncio.gather(made, direct(2))

    assert asyncio.run(both()) == [[1, True, (1,), "direct"], [2, True, (2,), "direct"]]
    assert current.get_current_task() is None


def test_eager_runs(app: Umbel, add: Any) -> None:
    @app.task(bind=True, name="again", default_retry_delay=0)
    async def again(self: Any) -> int:
        if self.request.retries < 2:
            raise self.retry()
        return int(self.request.retries)

    @app.task(name="fail")
    async def fail() -> None:
        raise ValueError("no luck")

    assert add.apply((1, 2)).get() == 3
    assert again.apply().get() == 2
    assert chain(add.s(1, 2), add.s(3)).apply().get() == 6
    assert group(add.s(1, number) for number in range(3)).apply().get() == [1, 2, 3]
    result = fail.apply()
    assert result.state == "FAILURE"
    with pytest.raises(ValueError, match="no luck"):
        fail.apply(throw=True)


def test_an_eager_run_within_a_running_loop(app: Umbel, add: Any) -> None:
    app.conf.task_always_eager = True

    @app.task(name="outer", bind=True)
    async def outer(self: Any, x: int) -> list[Any]:
        inner = add.delay(x, 1)
        return [inner.get(), self.request.id == current.current_task.request.id]

    async def calls() -> Any:
        return [add.delay(1, 2).get(), outer.delay(3).get(), await asyncio.sleep(0, "goes on")]

    assert asyncio.run(calls()) == [3, [4, True], "goes on"]


def test_eager_runs_keep_their_loop(app: Umbel) -> None:
    @app.task(name="loop")
    async def loop() -> int:
        return id(asyncio.get_running_loop())

    assert len({loop.apply().get() for _ in range(3)}) == 1
    seen: list[int] = []
    thread = threading.Thread(target=lambda: seen.append(loop.apply().get()))
    thread.start()
    thread.join()
    assert seen[0] != loop.apply().get()


def test_the_loop_of_a_thread_is_closed_with_it(app: Umbel, add: Any) -> None:
    seen: list[Any] = []

    def work() -> None:
        assert add.apply((1, 2)).get() == 3
        slot = slot_loop._local.slot
        assert slot is not None
        seen.append(slot.loop)
        assert not slot.loop.is_closed()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen[0].is_closed()


def test_a_forked_process_makes_a_loop_of_its_own(add: Any) -> None:
    assert add.apply((1, 2)).get() == 3
    parent = slot_loop._local.slot
    child = os.fork()
    if not child:
        fine = add.apply((2, 3)).get() == 5 and slot_loop._local.slot is not parent
        slot_loop.close_all()
        os._exit(0 if fine else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert add.apply((3, 4)).get() == 7


def test_a_plain_task_gets_the_plain_tracer(app: Umbel, add: Any) -> None:
    @app.task(name="plain")
    def plain(x: int) -> int:
        return x

    class Calling(app.Task):  # type: ignore[name-defined,misc]
        async def __call__(self, *args: Any, **kwargs: Any) -> Any:
            return [self.run(*args, **kwargs)]

    @app.task(name="called", base=Calling)
    def called(x: int) -> int:
        return x

    assert [is_async(task) for task in (plain, add, called)] == [False, True, True]
    tracer = make_tracer(plain, app)
    assert tracer.call == plain.run
    assert called.apply((1,)).get() == [1]
    assert asyncio.run(called(1)) == [1]


def test_a_plain_decorator_around_a_coroutine_function(app: Umbel) -> None:
    def logged(function: Any) -> Any:
        @functools.wraps(function)
        def call(*args: Any) -> Any:
            return function(*args)

        return call

    def run_at_once(function: Any) -> Any:
        @functools.wraps(function)
        def call(*args: Any) -> Any:
            return asyncio.run(function(*args))

        return call

    async def double(x: int) -> int:
        await asyncio.sleep(0)
        return 2 * x

    passing, running = app.task(name="passing")(logged(double)), app.task(name="running")(run_at_once(double))
    assert [is_async(passing), is_async(running)] == [False, False]
    assert [passing.apply((2,)).get(), running.apply((2,)).get()] == [4, 4]


def test_nothing_of_asyncio_is_imported_for_plain_tasks() -> None:
    source = """
import sys
from umbel import Umbel
app = Umbel("plain", broker="memory://", backend="memory://")
@app.task
def plain(x):
    return x
assert plain.apply((1,)).get() == 1
print("umbel.app.slot_loop" in sys.modules, "umbel.app.async_tracer" in sys.modules)
"""
    said = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True, timeout=60)
    assert said.stdout.split() == ["False", "False"]


def test_ctrl_c_leaves_an_eager_run(app: Umbel) -> None:
    @app.task(name="interrupted")
    async def interrupted() -> None:
        raise KeyboardInterrupt

    @app.task(name="exits")
    async def exits() -> None:
        raise SystemExit(3)

    with pytest.raises(KeyboardInterrupt):
        interrupted.apply()
    assert exits.apply().state == "FAILURE"


def test_a_soft_limit_that_strikes_the_loop_itself_reaches_the_coroutine(app: Umbel) -> None:
    @app.task(name="tidies")
    async def tidies() -> str:
        asyncio.get_running_loop().call_later(0.05, strike)
        try:
            await asyncio.sleep(20)
        except SoftTimeLimitExceeded as error:
            return f"tidied after {error.args[0]}"
        return "slept"

    def strike() -> None:
        raise_in_loop.append(asyncio.get_running_loop())
        raise SystemExit  # what leaves a loop's own code, as a signal's error does

    raise_in_loop: list[Any] = []
    slot = slot_loop.SlotLoop()
    run = slot.loop.run_until_complete

    def struck(task: Any) -> Any:
        try:
            return run(task)
        except SystemExit:
            raise SoftTimeLimitExceeded(0.05) from None

    slot.loop.run_until_complete = struck  # type: ignore[method-assign]
    assert slot.run(tidies.run()) == "tidied after 0.05"
    assert raise_in_loop
    slot.close()


def test_whether_a_run_is_wanted() -> None:
    class Job:
        cancelled = True

    assert Context().cancelled is False
    assert Context(running_job=Job()).cancelled is True
