"""A forked process of a test."""

from __future__ import annotations

import os
import signal
import traceback
from collections.abc import Callable

from umbel_testkit.waiting import eventually


def run_forked(function: Callable[[], None], *, within: float) -> None:
    """Run a function in a forked child and wait for it; the test fails when it raises or takes too long.

    The child leaves through ``os._exit``, so it runs no clean-up that belongs to the parent.
    """
    pid = os.fork()
    if not pid:
        code = 1
        try:
            function()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    codes: list[int] = []

    def ended() -> bool:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            codes.append(os.waitstatus_to_exitcode(status))
        return bool(found)

    try:
        eventually(ended, within=within, what="the forked child to end")
    finally:
        if not codes:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    assert codes == [0], f"the forked child ended with code {codes[0]}; its error is on standard error"
