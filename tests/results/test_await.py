"""Results awaited in an event loop."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from umbel.model.exceptions import TaskRevokedError
from umbel.results import EagerResult, GroupResult, NoResultBackend, ResultSet, denied_join_result, patience
from umbel.wire.result_document import ResultDocument
from umbel_kernel.errors import BackendError, ContentError, OperationalError
from umbel_kernel.spi.backend import Record

Done = Callable[..., None]
every_backend = pytest.mark.parametrize("app", ["memory", "redis", "sqlite", "rpc"], indirect=True)


@every_backend
def test_a_result_is_awaited(app: Any, done: Done) -> None:
    async def main() -> list[Any]:
        done("a", 5, after=0.05)
        later = app.AsyncResult("a")
        return [await asyncio.wait_for(later, 20), await later, later.result, await app.AsyncResult("a")]

    assert asyncio.run(main()) == [5, 5, 5, 5]


@every_backend
def test_an_error_is_raised_and_a_parents_too(app: Any, done: Done) -> None:
    async def main() -> None:
        done("a", LookupError("first"), "FAILURE", traceback="Traceback\n  at the worker\n", after=0.05)
        with pytest.raises(LookupError, match="first") as caught:
            await asyncio.wait_for(app.AsyncResult("a"), 20)
        assert "at the worker" in str(caught.value.__cause__)
        with pytest.raises(LookupError, match="first"):
            await asyncio.wait_for(app.AsyncResult("b", parent=app.AsyncResult("a")), 20)
        done("c", TaskRevokedError("revoked"), "REVOKED", after=0.01)
        with pytest.raises(TaskRevokedError):
            await asyncio.wait_for(app.AsyncResult("c"), 20)

    asyncio.run(main())


@every_backend
def test_many_wait_on_one_thread_and_newcomers_are_heard_at_once(app: Any, done: Done) -> None:
    ids = [f"id{number}" for number in range(200)]

    async def main() -> None:
        before = threading.enumerate()
        first = asyncio.gather(*(app.AsyncResult(task_id) for task_id in ids[:100]))
        await asyncio.sleep(0.05)  # by now the store is waited for
        second = asyncio.gather(*(app.AsyncResult(task_id) for task_id in ids[100:]))
        names = [thread.name for thread in threading.enumerate() if thread not in before]
        assert names.count("umbel-results") == 1 and len(names) <= 3
        began = time.monotonic()
        await asyncio.to_thread(lambda: [done(task_id, task_id) for task_id in ids[100:]])
        assert await asyncio.wait_for(second, 20) == ids[100:]
        # Without the bell the newcomers would be heard after half a minute.
        assert time.monotonic() - began < 15 and not first.done()
        await asyncio.to_thread(lambda: [done(task_id, task_id) for task_id in ids[:100]])
        assert await asyncio.wait_for(first, 20) == ids[:100]

    asyncio.run(main())


def test_the_loop_goes_on_while_it_waits(app: Any, done: Done) -> None:
    async def main() -> tuple[Any, int]:
        ticks = 0
        waiting = asyncio.ensure_future(app.AsyncResult("a"))
        while not waiting.done():
            ticks += 1
            if ticks == 100:
                done("a", "come")
            await asyncio.sleep(0)
        return await waiting, ticks

    value, ticks = asyncio.run(main())
    assert value == "come" and ticks >= 100


@every_backend
def test_a_wait_can_be_cancelled_and_taken_up_again(app: Any, done: Done) -> None:
    async def main() -> Any:
        result, other = app.AsyncResult("a"), asyncio.ensure_future(app.AsyncResult("a"))
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(result, 0.05)
        waiting = asyncio.ensure_future(result)
        await asyncio.sleep(0.01)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert list(app.backend.watch()._ears) == ["a"]
        done("a", 1, after=0.01)
        assert await asyncio.wait_for(result, 20) == await asyncio.wait_for(other, 20) == 1
        assert not app.backend.watch()._ears

    asyncio.run(main())


@every_backend
def test_a_groups_members_come_as_they_end(app: Any, done: Done) -> None:
    inner = GroupResult("h", [app.AsyncResult("c"), app.AsyncResult("d")], app=app)
    group = GroupResult("g", [app.AsyncResult("a"), app.AsyncResult("b"), inner], app=app)

    async def main() -> None:
        seen = []
        done("d", "D")
        async for result in group:
            seen.append((result.id, result.get(timeout=0)))
            following = {"d": "b", "b": "c", "c": "a"}.get(result.id)
            if following:
                await asyncio.to_thread(done, following, following.upper())
        assert seen == [("d", "D"), ("b", "B"), ("c", "C"), ("a", "A")]
        assert await group == ["A", "B", ["C", "D"]]

    asyncio.run(asyncio.wait_for(main(), 30))


def test_a_group_raises_the_first_error_and_can_be_left(app: Any, done: Done) -> None:
    ignored = app.AsyncResult("x")
    ignored.ignored = True
    results = ResultSet([app.AsyncResult("a"), app.AsyncResult("b"), ignored], app=app)

    async def main() -> None:
        done("a", ValueError("no"), "FAILURE")
        with pytest.raises(ValueError, match="no"):
            await results
        done("b", 2)
        values = [result.get(propagate=False) async for result in results]
        assert [type(value) for value in values] == [ValueError, int]
        fresh = ResultSet([app.AsyncResult("b"), ignored, EagerResult("e", 3, "SUCCESS")], app=app)
        seen: list[Any] = []
        fresh.then(seen.append)
        assert await fresh == [2, None, 3] and seen == [fresh]
        assert await ResultSet([], app=app) == [] and await ignored is None

    asyncio.run(main())


def test_an_eager_result_is_awaited_too() -> None:
    async def main() -> None:
        assert await EagerResult("a", 5, "SUCCESS") == 5
        with pytest.raises(KeyError):
            await EagerResult("b", KeyError("k"), "FAILURE")

    asyncio.run(main())


def test_inside_a_task_it_is_refused(app: Any) -> None:
    async def main() -> None:
        with pytest.raises(RuntimeError, match="must not wait"):
            await app.AsyncResult("a")
        with pytest.raises(RuntimeError, match="must not wait"):
            await ResultSet([app.AsyncResult("a")])

    with denied_join_result():
        asyncio.run(main())


def test_one_that_cannot_be_read_fails_alone(app: Any, done: Done) -> None:
    async def main() -> None:
        others = asyncio.gather(*(app.AsyncResult(task_id) for task_id in "bc"))
        broken = asyncio.ensure_future(app.AsyncResult("a"))
        await asyncio.sleep(0.01)
        app.load_backend().store([Record("a", "SUCCESS", b"{ this is no document")])
        with pytest.raises(ContentError):
            await asyncio.wait_for(broken, 20)
        done("b", 1)
        done("c", 2)
        assert await asyncio.wait_for(others, 20) == [1, 2]

    asyncio.run(main())


def test_without_a_backend_it_says_how_to_have_one(app: Any) -> None:
    app.conf.result_backend = "disabled"
    app._parts.pop("backend", None)

    async def main() -> None:
        with pytest.raises(NoResultBackend, match="set result_backend"):
            await asyncio.wait_for(app.AsyncResult("a"), 20)

    asyncio.run(main())


def test_a_store_that_is_away_is_heard_of(app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(task_ids: Any, timeout: Any) -> Any:
        raise OperationalError("the store is away")

    monkeypatch.setattr(app.backend, "wait_for", away)
    monkeypatch.setattr(patience, "LONGEST", 0.2)

    async def main() -> None:
        with pytest.raises(OperationalError, match="away"):
            await asyncio.wait_for(app.AsyncResult("a"), 20)

    asyncio.run(main())


def test_a_store_that_may_only_be_read_is_looked_at_over_and_over(app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    ended = threading.Event()

    def wait_for(task_ids: Any, timeout: float) -> dict[str, ResultDocument]:
        waits.append(timeout)
        ended.wait(0.05 if timeout < 1 else 0.2)
        known = [task_id for task_id in task_ids if task_id == "b" or (ended.is_set() and task_id == "a")]
        return {task_id: ResultDocument(task_id, "SUCCESS", task_id) for task_id in known}

    def refuse(bell: str) -> None:
        raise BackendError("READONLY")

    monkeypatch.setattr(app.backend, "wait_for", wait_for)
    monkeypatch.setattr(app.backend, "ring", refuse)

    async def main() -> None:
        first = asyncio.ensure_future(app.AsyncResult("a"))
        await asyncio.sleep(0.01)
        assert await asyncio.wait_for(app.AsyncResult("b"), 20) == "b"
        ended.set()
        assert await asyncio.wait_for(first, 20) == "a"

    asyncio.run(main())
    assert waits[0] > 1 and waits[-1] < 1


def test_a_bell_that_cannot_be_silenced_is_not_heard_for_ever(app: Any, done: Done, monkeypatch: Any) -> None:
    waits: list[int] = []
    wait_for = app.backend.wait_for

    def counted(task_ids: Any, timeout: float) -> Any:
        waits.append(len(task_ids))
        return wait_for(task_ids, timeout)

    def fail(task_id: str) -> None:
        raise OperationalError("the store is away for a moment")

    monkeypatch.setattr(app.backend, "wait_for", counted)
    monkeypatch.setattr(app.backend, "forget", fail)

    async def main() -> None:
        first = asyncio.ensure_future(app.AsyncResult("a"))
        while not waits:
            await asyncio.sleep(0.005)
        second = asyncio.ensure_future(app.AsyncResult("b"))
        while len(waits) < 2:
            await asyncio.sleep(0.005)
        await asyncio.sleep(0.05)
        assert waits == [2, 3], "one wait after the bell, and no more"
        done("a", 1)
        done("b", 2)
        assert await asyncio.wait_for(asyncio.gather(first, second), 20) == [1, 2]

    asyncio.run(main())


def test_a_forked_child_waits_on_threads_of_its_own(app: Any) -> None:
    inherited = app.backend.watch()
    assert app.backend.watch() is inherited
    inherited.pid -= 1  # as if this were a child of the process that made it
    assert app.backend.watch() is not inherited


def test_several_loops_share_it(app: Any, done: Done) -> None:
    values: list[Any] = []

    async def main() -> None:
        values.append(await asyncio.wait_for(app.AsyncResult("a"), 20))

    threads = [threading.Thread(target=lambda: asyncio.run(main())) for _ in range(5)]
    for thread in threads:
        thread.start()
    done("a", 1, after=0.05)
    for thread in threads:
        thread.join(30)
    assert values == [1] * 5
