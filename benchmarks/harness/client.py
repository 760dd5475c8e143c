"""The producer: a process of its own, in which a contender is imported and asked to enqueue or to call.

`python -m harness.client <contender> ACTION [count]` prints one line of JSON. ACTION is one of describe, import, fill,
enqueue, bulk, roundtrip, chord, group and chain.
A contender's file answers with `ready()`, `enqueue(count)`, `call(number)` and, where it has one,
`enqueue_many(count)`; each may be a coroutine function. `chord(count)`, `group(count)` and `chain(count)`, where it has
them, send a workflow and return what comes of it: the sum of 0 to count - 1, the list of these, and count.
"""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

import harness.contender
import harness.mark  # noqa: F401  (both before the clock starts: their import is not the contender's)

WARM_UP = 20
CANVAS: dict[str, Callable[[int], Any]] = {
    "chord": lambda count: sum(range(count)),
    "group": lambda count: list(range(count)),
    "chain": lambda count: count,
}
"""The workflows, and what comes of them."""


def _import(name: str) -> tuple[ModuleType, float]:
    begin = time.perf_counter()
    module = importlib.import_module(f"contenders.{name}")
    return module, time.perf_counter() - begin


def main(name: str, action: str, count: int) -> dict[str, Any]:
    module, seconds = _import(name)
    import asyncio  # noqa: PLC0415  (after the clock: a contender that needs it pays for it)
    import inspect  # noqa: PLC0415

    loop = asyncio.new_event_loop()

    def run(value: Any) -> Any:
        return loop.run_until_complete(value) if inspect.isawaitable(value) else value

    if action == "import":
        return {"import": seconds}
    if action == "describe":
        return _describe(module)
    run(module.ready())
    if action == "fill":
        run((getattr(module, "enqueue_many", None) or module.enqueue)(count))
        return {"count": count}
    if action in ("enqueue", "bulk"):
        enqueue = module.enqueue if action == "enqueue" else module.enqueue_many
        run(enqueue(WARM_UP))
        begin, cpu = time.perf_counter(), time.process_time()
        run(enqueue(count))
        return {"seconds": time.perf_counter() - begin, "cpu": time.process_time() - cpu, "count": count}
    if action in CANVAS:
        return _canvas(name, action, getattr(module, action), count)
    if action == "roundtrip":
        if inspect.iscoroutinefunction(module.call):
            return {"times": loop.run_until_complete(_calls(module, count))}
        times = []
        for number in range(-WARM_UP, count):
            begin = time.perf_counter()
            answer = module.call(number)
            times.append(time.perf_counter() - begin)
            if answer != number:
                raise SystemExit(f"{name} answered {answer!r} when asked for {number}")
        return {"times": times[WARM_UP:]}
    raise SystemExit(f"unknown action {action!r}")


def _canvas(name: str, action: str, run: Callable[[int], Any], count: int) -> dict[str, float]:
    seconds = cpu = 0.0
    for size in (WARM_UP, count):
        begin, used = time.perf_counter(), time.process_time()
        answer = run(size)
        seconds, cpu = time.perf_counter() - begin, time.process_time() - used
        if answer != CANVAS[action](size):
            raise SystemExit(f"a {action} of {size} by {name} gave {answer!r:.200}")
    return {"seconds": seconds, "cpu": cpu}


async def _calls(module: ModuleType, count: int) -> list[float]:
    times = []
    for number in range(-WARM_UP, count):
        begin = time.perf_counter()
        answer = await module.call(number)
        times.append(time.perf_counter() - begin)
        if answer != number:
            raise SystemExit(f"{module.__name__} answered {answer!r} when asked for {number}")
    return times[WARM_UP:]


def _describe(module: ModuleType) -> dict[str, Any]:
    from importlib.metadata import version  # noqa: PLC0415

    said = dict(vars(module.CONTENDER))
    said["setups"] = [vars(setup) for setup in said["setups"]]
    said["versions"] = {name: version(name) for name in said["distributions"]}
    said["bulk"] = hasattr(module, "enqueue_many")
    said["canvas"] = [action for action in CANVAS if hasattr(module, action)]
    return said


if __name__ == "__main__":
    answer = main(sys.argv[1], sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 0)
    import json

    print(json.dumps(answer), flush=True)
