"""Forking a child."""

from __future__ import annotations

import gc
import os
import signal
import socket
from collections.abc import Callable
from typing import Any

import billiard
import billiard.popen_fork
import billiard.util

from umbel_kernel.errors import PoolError
from umbel_kernel.spi.pool import Job, PoolOptions
from umbel_pool_prefork.child import Birth, live
from umbel_pool_prefork.slot import Slot
from umbel_pool_prefork.stamp import Stamp

# billiard imports these two late, the second in each child anew: that took 16 of the 18 ms of CPU of a birth.
_WARM = (billiard.popen_fork, billiard.util)
_context = billiard.get_context("fork")


def give_birth(number: int, execute: Callable[[Job], Any], options: PoolOptions, abandon: Callable[[], None]) -> Slot:
    """Fork a child that runs jobs.

    All signals are blocked around the fork, so that no handler of the parent's runs in the child before the child has
    set its own. The garbage collector is held off, so that it does not touch, and thereby copy, the pages shared.

    Args:
        number: of the process, for its name.
        abandon: closes in the child what it inherits and must not hold: the pool's ends of its siblings' sockets.

    Raises:
        PoolError: the system refuses.
    """
    try:
        ours, theirs = socket.socketpair()
    except OSError as error:
        raise PoolError(f"no socket pair for a child process: {error}; raise the limit of open files") from error
    stamp = Stamp()
    name = f"ForkPoolWorker-{number}"
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    collecting = gc.isenabled()
    gc.disable()
    try:

        def forget() -> None:
            abandon()
            ours.close()

        birth = Birth(name, os.getpid(), theirs, stamp, execute, options, mask, forget)
        process = _context.Process(target=live, args=(birth,), name=name, daemon=True)
        process.start()
    except OSError as error:
        ours.close()
        stamp.close()
        raise PoolError(f"the system starts no child process: {error}; lower the concurrency or free memory") from error
    finally:
        theirs.close()
        if collecting:
            gc.enable()
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    ours.setblocking(False)
    return Slot(process, ours, stamp)
