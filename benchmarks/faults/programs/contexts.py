"""Publish where it is hard: `python -m faults.programs.contexts <context> <count> <file>`.

The file gets a line of each call that came back, with the id of its task, as soon as it did: those tasks have been
promised. What is wrong with the process after that line (it ends, it forks, it is interrupted) is the context.
`<count>` is about how many tasks each part of a context publishes.
"""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import gc
import multiprocessing
import os
import signal
import sys
import threading
import time
import uuid
from collections.abc import Callable
from types import FrameType
from typing import Any

COUNT = int(sys.argv[2])
_FILE = os.open(sys.argv[3], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
_EARLY: list[Callable[[], object]] = []
# Registered before there is an app, so that it is called after everything that the app registers.
atexit.register(lambda: [each() for each in _EARLY])

from faults.programs.app import app  # noqa: E402

_TASK = app.tasks["faults.note"]


def publish(
    count: int = 1, _task: Any = _TASK, _write: Any = os.write, _file: int = _FILE, _new: Any = uuid.uuid4
) -> None:
    """Publish tasks one by one. All that it needs is in its defaults, for the time when modules are taken apart."""
    for _ in range(count):
        task_id = _new().hex
        _task.apply_async((), task_id=task_id)
        _write(_file, task_id.encode() + b"\n")


def _reap(children: list[int]) -> None:
    for pid in children:
        _, status = os.waitpid(pid, 0)
        if status:
            print(f"child {pid} ended with {os.waitstatus_to_exitcode(status)}", file=sys.stderr)


def _threads(count: int, run: Callable[[], object], **options: Any) -> list[threading.Thread]:
    made = [threading.Thread(target=run, **options) for _ in range(count)]
    for thread in made:
        thread.start()
    return made


def normal_end() -> None:
    """The process ends right after the last call."""
    publish(COUNT)


def uncaught_error() -> None:
    """The process ends by an error that nobody catches."""
    publish(COUNT)
    raise RuntimeError("wanted")


def threads() -> None:
    """Twenty threads at once on an app that has not published before."""
    for thread in _threads(20, lambda: publish(COUNT)):
        thread.join()


def threads_to_the_end() -> None:
    """Threads that are still publishing when the main thread has ended."""
    _threads(5, lambda: publish(COUNT))


def fork() -> None:
    """Parent and child both go on after a fork, and both end by themselves."""
    publish(10)
    children = []
    for _ in range(3):
        pid = os.fork()
        if not pid:
            publish(COUNT)
            return
        children.append(pid)
        publish(COUNT)
    _reap(children)
    publish(COUNT)


def fork_amid() -> None:
    """Forks while other threads of the parent are publishing; the children publish, too."""
    over = threading.Event()

    def go_on() -> None:
        while not over.is_set():
            publish()

    made = _threads(4, go_on)
    children = []
    for _ in range(15):
        time.sleep(0.02)
        pid = os.fork()
        if not pid:
            publish(COUNT // 4 + 1)
            over.set()
            return
        children.append(pid)
    _reap(children)
    over.set()
    for thread in made:
        thread.join()


def fork_at_first() -> None:
    """Forks while other threads use the app for the first time: whatever is made once is half made then."""
    made = _threads(4, lambda: publish(COUNT))
    children = []
    for _ in range(10):
        pid = os.fork()
        if not pid:
            publish(5)
            return
        children.append(pid)
        time.sleep(0.003)
    _reap(children)
    for thread in made:
        thread.join()


def multiprocessing_fork() -> None:
    """Processes of the standard library, which end without any handler of atexit."""
    publish(10)
    context = multiprocessing.get_context("fork")
    made = [context.Process(target=publish, args=(COUNT,)) for _ in range(4)]
    for process in made:
        process.start()
    publish(COUNT)
    for process in made:
        process.join()


def executor() -> None:
    """A pool of processes of the standard library."""
    publish(10)
    with concurrent.futures.ProcessPoolExecutor(3, mp_context=multiprocessing.get_context("fork")) as pool:
        list(pool.map(publish, [5] * (COUNT // 5 + 1)))
    publish(10)


def preloaded() -> None:
    """As servers of web pages do: an app is loaded and used, workers are forked, each serves with threads."""
    publish()
    children = []
    for _ in range(3):
        pid = os.fork()
        if not pid:
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
            for thread in _threads(4, lambda: publish(COUNT // 4 + 1)):
                thread.join()
            publish(5)
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(10)
        children.append(pid)
    _reap(children)


def at_exit() -> None:
    """In handlers of atexit, of which one comes after all that the app has registered."""
    publish(5)
    _EARLY.append(lambda: publish(COUNT))
    atexit.register(publish, COUNT)


def at_exit_first() -> None:
    """In a handler of atexit, by an app that was not used before."""
    _EARLY.append(lambda: publish(COUNT))


def at_exit_after_threads() -> None:
    """In a handler of atexit, after the threads have ended that published before."""
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(publish, [5] * 8))
    atexit.register(publish, COUNT)


def daemon() -> None:
    """In daemon threads that are publishing when the interpreter ends."""

    def for_ever() -> None:
        while True:
            publish()

    _threads(3, for_ever, daemon=True)
    time.sleep(0.5)
    publish(COUNT)


def signal_handler() -> None:
    """In a signal handler, whatever the main thread is doing; mostly it is publishing."""

    def handle(_number: int, _frame: FrameType | None) -> None:
        publish()
        signal.setitimer(signal.ITIMER_REAL, 0.0011)

    publish()
    signal.signal(signal.SIGALRM, handle)
    signal.setitimer(signal.ITIMER_REAL, 0.003)
    end = time.monotonic() + 2.0
    while time.monotonic() < end:
        publish()
    signal.signal(signal.SIGALRM, signal.SIG_IGN)
    publish(COUNT)


def interrupted() -> None:
    """A signal handler ends the process in the middle of a call; what came back before it is promised."""

    def handle(_number: int, _frame: FrameType | None) -> None:
        publish(2)
        sys.exit(0)

    publish(COUNT)
    signal.signal(signal.SIGALRM, handle)
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    while True:
        publish()


class _Parting:
    """Publishes when it is taken away."""

    def __init__(self, publish: Callable[[int], None], count: int) -> None:
        self._publish, self._count, self._circle = publish, count, self

    def __del__(self) -> None:
        try:
            self._publish(self._count)
        except Exception:
            return  # told that it is too late, which is no promise


def finalizer() -> None:
    """In the finalizer of what the garbage collector finds while the same thread is publishing."""
    gc.set_threshold(50)
    for _ in range(COUNT):
        _Parting(publish, 1)
        publish()


def finalizer_at_end() -> None:
    """In a finalizer that runs while the interpreter ends. An error is as good as a promise that is kept."""
    publish(5)
    globals()["_kept"] = _Parting(publish, 5)


def coroutines() -> None:
    """From coroutines of an event loop, and from the threads that it gives work to."""

    async def each() -> None:
        for _ in range(COUNT):
            publish()
            await asyncio.sleep(0)

    async def main() -> None:
        await asyncio.gather(*(each() for _ in range(5)))
        await asyncio.gather(*(asyncio.to_thread(publish, COUNT) for _ in range(5)))

    asyncio.run(main())


def hard_exit() -> None:
    """The process ends by `os._exit`, which runs nothing of Python any more."""
    publish(COUNT)
    os._exit(0)


CONTEXTS: tuple[Callable[[], None], ...] = (
    normal_end,
    uncaught_error,
    threads,
    threads_to_the_end,
    fork,
    fork_amid,
    fork_at_first,
    multiprocessing_fork,
    executor,
    preloaded,
    at_exit,
    at_exit_first,
    at_exit_after_threads,
    daemon,
    signal_handler,
    interrupted,
    finalizer,
    finalizer_at_end,
    coroutines,
    hard_exit,
)

if __name__ == "__main__":
    next(each for each in CONTEXTS if each.__name__ == sys.argv[1])()
