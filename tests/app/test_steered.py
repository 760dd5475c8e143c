"""Raising an error in a coroutine from outside."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from umbel.app.steered import SoftLimitReached, Steered
from umbel_kernel.errors import SoftTimeLimitExceeded


async def run(coroutine: Any, *, after: int = 3) -> Any:
    """Run a coroutine, and raise a soft limit in it after so many turns of the loop."""
    steered = Steered(coroutine)
    task = asyncio.get_running_loop().create_task(steered)  # type: ignore[arg-type]
    for _ in range(after):
        await asyncio.sleep(0)
    steered.soften(task, 5.0)
    return await task, task.cancelling()


async def waits() -> Any:
    try:
        await asyncio.sleep(60)
    except SoftTimeLimitExceeded as error:
        return type(error), error.args, isinstance(error, asyncio.CancelledError)


def test_it_is_raised_where_the_coroutine_waits() -> None:
    assert asyncio.run(run(waits())) == ((SoftLimitReached, (5.0,), True), 0)


def test_it_is_raised_once() -> None:
    async def goes_on() -> Any:
        found = await waits()
        await asyncio.sleep(0.01)
        return found[1]

    assert asyncio.run(run(goes_on())) == ((5.0,), 0)


def test_it_comes_although_what_was_awaited_did() -> None:
    async def stubborn() -> str:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            pass
        return "came"

    async def outer() -> Any:
        try:
            return await asyncio.ensure_future(stubborn())
        except SoftTimeLimitExceeded:
            return "told"

    assert asyncio.run(run(outer())) == ("told", 0)


def test_before_the_first_step_it_goes_through() -> None:
    ran: list[int] = []

    async def body() -> None:
        ran.append(1)

    with pytest.raises(asyncio.CancelledError) as caught:
        asyncio.run(run(body(), after=0))
    assert isinstance(caught.value, SoftTimeLimitExceeded) or not ran


def test_after_the_end_it_is_nothing() -> None:
    async def body() -> int:
        return 1

    async def main() -> Any:
        steered = Steered(body())
        task = asyncio.get_running_loop().create_task(steered)  # type: ignore[arg-type]
        assert await task == 1
        steered.soften(task, 5.0)
        return task.result()

    assert asyncio.run(main()) == 1


def test_it_is_shown_as_the_coroutine_that_it_is() -> None:
    coroutine = waits()
    steered = Steered(coroutine)
    assert steered.__qualname__ == "waits"
    assert steered.cr_frame is coroutine.cr_frame
    steered.close()
