"""Waits for results on behalf of event loops: however many, in one wait of the store's."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from typing import Any

from umbel.model.ids import uuid
from umbel.results import patience
from umbel.results.lots import lot_pause
from umbel.results.patience import Patience
from umbel.wire.result_document import ResultDocument
from umbel_kernel.errors import OperationalError, UmbelError

logger = logging.getLogger(__name__)

_POLL = 0.1
"""Seconds of one wait on a store that cannot be rung."""

_IDLE = 5.0
"""Seconds after which a thread that has nothing to do ends."""

Hear = Callable[[str, "ResultDocument | Exception"], None]


class Watch:
    """What event loops wait for, and the thread that does so for them.

    A thread that waits for the store cannot be told of more ids, so it is woken as every waiter is: by a result. It
    waits for the *bell* too, an id of nobody's task, and another thread stores a result of that id, which is dropped
    as soon as it was heard. The loop itself does no I/O.

    Args:
        store: the ``ResultStore``.
    """

    def __init__(self, store: Any) -> None:
        self.pid = os.getpid()
        self._store = store
        self._steps = Patience(store, None)
        self._turn = threading.Condition()
        self._ears: dict[str, list[Hear]] = {}
        self._bell = uuid()
        self._silent = False
        self._waits = False
        self._told = False
        self._ring = False
        self._reader: threading.Thread | None = None
        self._ringer: threading.Thread | None = None

    def add(self, task_ids: Iterable[str], hear: Hear) -> None:
        """Have ``hear`` called, in another thread, with each of these ids and its document once it has ended.

        It is called with an error instead when the document cannot be read or the store is away.
        """
        with self._turn:
            for task_id in task_ids:
                self._ears.setdefault(task_id, []).append(hear)
            if self._reader is None:
                self._reader = self._start(self._read, "umbel-results")
            if self._waits and not self._told and not self._silent:
                self._told = self._ring = True
                if self._ringer is None:
                    self._ringer = self._start(self._rings, "umbel-results-bell")
            self._turn.notify_all()

    def drop(self, task_ids: Iterable[str], hear: Hear) -> None:
        """Call ``hear`` no more."""
        with self._turn:
            for task_id in task_ids:
                ears = self._ears.get(task_id)
                if ears is not None and hear in ears:
                    ears.remove(hear)
                    if not ears:
                        del self._ears[task_id]

    @staticmethod
    def _start(run: Callable[[], None], name: str) -> threading.Thread:
        thread = threading.Thread(target=run, name=name, daemon=True)
        thread.start()
        return thread

    def _read(self) -> None:
        while True:
            with self._turn:
                self._waits = False
                if not self._turn.wait_for(lambda: self._ears, _IDLE):
                    self._reader = None
                    return
                wanted = list(self._ears)
                self._told, self._waits = False, True
            try:
                found = self._steps.wait_for([*wanted, self._bell], _POLL if self._silent else patience.LONGEST)
                rung = found.pop(self._bell, None) is not None
                self._say(found)
                if rung:
                    self._silence()
                pause = lot_pause(len(wanted) - len(found)) if found else 0.0
                if pause:
                    time.sleep(pause)
            except OperationalError as error:
                self._say(dict.fromkeys(wanted, error))
            except Exception as error:
                # One that cannot be read must not keep the others from being heard.
                logger.debug("waiting for %d results: %s", len(wanted), error)
                self._one_by_one(wanted)

    def _silence(self) -> None:
        """Drop the bell's result; when that fails, ring another one from now on."""
        try:
            self._store.forget(self._bell)
        except UmbelError as error:
            logger.debug("the bell was not silenced: %s", error)
            self._bell = uuid()

    def _one_by_one(self, wanted: Sequence[str]) -> None:
        for task_id in wanted:
            try:
                self._say(self._store.wait_for([task_id], 0))
            except Exception as error:
                self._say({task_id: error})

    def _say(self, found: dict[str, Any]) -> None:
        with self._turn:
            told = [(task_id, what, self._ears.pop(task_id, ())) for task_id, what in found.items()]
        for task_id, what, ears in told:
            for hear in ears:
                hear(task_id, what)

    def _rings(self) -> None:
        while True:
            with self._turn:
                if not self._turn.wait_for(lambda: self._ring, _IDLE):
                    self._ringer = None
                    return
                self._ring, bell = False, self._bell
            try:
                self._store.ring(bell)
            except OperationalError as error:
                logger.debug("the bell was not rung: %s", error)
            except UmbelError as error:
                # It may be read and not written.
                logger.debug("the bell cannot be rung, so newcomers are looked for: %s", error)
                self._silent = True


async def arrivals(store: Any, task_ids: Sequence[str]) -> AsyncGenerator[ResultDocument, None]:
    """The documents of these, each as it comes. The event loop goes on meanwhile; cancelling it ends the wait.

    Raises:
        OperationalError: the store is away, and did not come back within half a minute.
    """
    # Who awaits has imported it; importing it here would cost every program that does not.
    loop = sys.modules["asyncio"].get_running_loop()
    came: deque[ResultDocument | Exception] = deque()
    waiting: Any = None

    def take(what: ResultDocument | Exception) -> None:
        came.append(what)
        if waiting is not None and not waiting.done():
            waiting.set_result(None)

    def hear(task_id: str, what: ResultDocument | Exception) -> None:
        try:
            loop.call_soon_threadsafe(take, what)
        except RuntimeError:
            return  # the loop was closed, and nobody waits any more

    watch = store.watch()
    watch.add(task_ids, hear)
    try:
        for _ in task_ids:
            while not came:
                waiting = loop.create_future()
                await waiting
            what = came.popleft()
            if isinstance(what, Exception):
                raise what
            yield what
    finally:
        watch.drop(task_ids, hear)
