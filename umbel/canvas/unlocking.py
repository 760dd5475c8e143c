"""Watching a chord's header where the result store cannot count."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from umbel.canvas.follow_up import fail_body, header_error, send_body
from umbel.model.current import get_current_task
from umbel.model.exceptions import ChordError
from umbel.model.states import PROPAGATE_STATES, READY_STATES
from umbel.results.group_result import GroupResult
from umbel.results.joining import allow_join_result
from umbel_kernel.errors import OperationalError


def chord_unlock(
    app: Any,
    group_id: str,
    callback: Any,
    interval: float | None = None,
    max_retries: int | None = None,
    result: Iterable[Any] = (),
    ended: int = 0,
    since: float | None = None,
    **kwargs: Any,
) -> None:
    """Look whether a chord's header is complete, and send its body; if it is not, look again later.

    The body fails when the header cannot complete any more: results of members are gone that were there, or no member
    has ended for longer than results are kept, or it was looked for often enough.

    Args:
        interval: seconds between two looks; by default ``result_chord_retry_interval``.
        max_retries: how often to look again; None for any number of times.
        result: the members' results, as tuples.
        ended: how many members had ended at the last look.
        since: when the last of them was seen to have ended, in seconds since the epoch.
    """
    result, now, task = list(result), time.time(), get_current_task()
    header = GroupResult(group_id, [app.backend.result_from_tuple(member) for member in result], app=app)
    known, there, reason = {"ended": ended, "since": since if since is not None else now}, ended, ""
    try:
        members = list(_ids(header))
        there = sum(found.status in READY_STATES for found in app.backend.get_documents(members, cache=False).values())
        if there >= len(members):
            _end(app, group_id, callback, header)
            return
        if there > ended:
            known = {"ended": there, "since": now}
        reason = _hopeless(app, there, ended, len(members), now - known["since"])
        if not reason and max_retries is not None and task.request.retries >= max_retries:
            reason = (
                f"{there} of {len(members)} members have ended after {max_retries + 1} looks, and no more are taken"
            )
        if reason:
            fail_body(app, callback, ChordError(f"the header, group {group_id}, does not complete: {reason}"))
            return
    except OperationalError as error:
        # The store or the broker is away: that says nothing of the chord.
        reason = str(error)
    again = app.conf.result_chord_retry_interval if interval is None else interval
    raise task.retry(
        countdown=again,
        kwargs={"interval": interval, "max_retries": max_retries, "result": result, **known, **kwargs},
        exc=OperationalError(reason) if reason else None,
        max_retries=task.request.retries + 1,
    )


def _hopeless(app: Any, there: int, before: int, size: int, idle: float) -> str:
    """Why a header that is not complete cannot complete any more; empty when it can."""
    if there < before:
        return (
            f"{before} of {size} members had ended, and the results of {before - there} of them are gone; they have "
            f"expired (result_expires) or were deleted"
        )
    keeps = app.backend.chord_expires
    if keeps is not None and idle > keeps:
        return (
            f"{there} of {size} members have ended, and none of the others for {keeps:g} seconds; longer than that "
            f"the store keeps nothing (result_chord_expires, result_expires)"
        )
    return ""


def _end(app: Any, group_id: str, callback: Any, header: GroupResult) -> None:
    with allow_join_result():
        try:
            values = header.join(timeout=app.conf.result_chord_join_timeout)
        except OperationalError:
            raise
        except Exception as error:
            # Whatever a member raised: the error of a task, by its own class.
            known = app.backend.get_documents(list(_ids(header)), cache=False)
            failed = next((task_id for task_id, found in known.items() if found.status in PROPAGATE_STATES), None)
            fail_body(app, callback, header_error(group_id, error, failed))
            return
    send_body(app, callback, values)


def _ids(header: Any) -> Iterable[str]:
    """The ids of all tasks of a header, those of groups in it included."""
    for member in header.results:
        if isinstance(member, GroupResult):
            yield from _ids(member)
        else:
            yield member.id
