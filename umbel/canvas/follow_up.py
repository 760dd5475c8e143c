"""What follows the end of a task: its callbacks, the rest of its chain, its chord, its errbacks.

A worker calls ``follow_success`` before it stores a result, so that the result knows the tasks that were sent;
``follow_failure`` and ``settle_chord`` after. Each does nothing when there is nothing to do.
"""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from umbel.canvas.errbacks import call_errbacks
from umbel.canvas.parts import as_list
from umbel.canvas.signature import maybe_signature
from umbel.model.brief import brief
from umbel.model.exceptions import ChordError
from umbel.model.ids import uuid
from umbel.model.states import FAILURE, PROPAGATE_STATES
from umbel_kernel.errors import BackendError, ContentError, EncodeError, OperationalError
from umbel_kernel.spi.backend import BackendCapability, ChordPart

logger = logging.getLogger(__name__)

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0


@dataclass(slots=True)
class _Ended:
    """As much of a request as is known of a task that never ran because one before it failed."""

    id: str
    task: str
    root_id: str | None = None
    parent_id: str | None = None
    group: str | None = None
    group_index: int | None = None
    chord: Any = None
    reply_to: str | None = None
    errbacks: list[Any] = field(default_factory=list)
    delivery_info: dict[str, Any] = field(default_factory=dict)
    is_eager: bool = False


def follow_success(app: Any, request: Any, result: Any) -> None:
    """Send the callbacks and the next step of the chain of a task that ended well; of an eager one, run them.

    One that cannot be sent, because it does not take the result or because its queue is not known, fails for itself.
    While the store is away that one of them needs, wait for it: the task has not failed because of that.

    Raises:
        EncodeError: the result cannot be serialised.
    """
    callbacks, chain = request.callbacks, request.chain
    if not callbacks and not chain:
        return
    options: dict[str, Any] = {"parent_id": request.id, "root_id": request.root_id or request.id}
    if app.conf.task_inherit_parent_priority:
        priority = (request.delivery_info or {}).get("priority")
        if priority is not None:
            options["priority"] = priority
    ahead = [(maybe_signature(callback, app=app, clone=True), options) for callback in callbacks or ()]
    if chain:
        ahead.append((maybe_signature(chain[-1], app=app, clone=True), {**options, "chain": list(chain[:-1])}))
    if request.is_eager:
        here = not app.conf.task_always_eager
        for sig, own in ahead:
            (sig.apply if here else sig.apply_async)((result,), **own)
        return
    try:
        _send_next(app, request.id, ahead, result)
    except OperationalError:
        patiently(
            f"task {request.id}, which others follow,", functools.partial(_send_next, app, request.id, ahead, result)
        )


def _send_next(app: Any, task_id: str, ahead: list[tuple[Any, dict[str, Any]]], result: Any) -> None:
    """Send these one after another, and drop each that is done."""
    while ahead:
        sig, options = ahead[0]
        try:
            if sig.subtask_type is None:
                sig.apply_async((result,), **options)
            else:
                # All of it, or nothing.
                with app.batching():
                    sig.apply_async((result,), **options)
        except (OperationalError, EncodeError):
            raise
        except Exception as error:
            logger.exception("%s, which was to follow task %s, cannot be sent", sig, task_id)
            sig.options["chain"] = [*(options.get("chain") or ()), *as_list(sig.options.get("chain"))]
            fail_body(app, sig, error)
        del ahead[0]


def follow_failure(
    app: Any, request: Any, exc: BaseException, traceback_text: str | None = None, *, wait: bool = True
) -> None:
    """Let the rest of the chain fail with a task, and call the task's errbacks.

    The chord of the task itself is settled by ``settle_chord``, where ``wait`` is explained.
    """
    chain, errbacks = request.chain, request.errbacks
    if chain:
        keep = not (getattr(request, "ignore_result", False) or request.is_eager)
        ending = functools.partial(fail, app, chain, exc, traceback_text, store=keep)
        if wait:
            patiently(f"task {request.id}, which others were to follow,", ending)
        else:
            ending()
    if errbacks:
        call_errbacks(app, errbacks, request, exc, traceback_text)


def settle_chord(app: Any, request: Any, state: str, result: Any, *, wait: bool = True) -> None:
    """Count a member of a chord's header that has ended; the last one sends the body, or lets it fail.

    The body is sent in ``app.ending_chord``, which ends the chord once it is published. A member that comes again
    before that, because its process died, finds the header complete and sends the body again.

    Where the request has a list as its ``chord_parts``, its worker counts the members, many at a time: then the part is
    put there with the request, and the worker calls ``end_chord`` for the one that makes the header complete.

    Args:
        request: of the member; ``chord`` is the body, whose ``chord_size`` says how many members there are.
        result: the member's return value, or its error.
        wait: while the store is away, wait for it: a member that is not counted is a chord that never ends.

    Raises:
        OperationalError: without ``wait``, when the store is away; calling this again is harmless.
    """
    if not request.chord or not request.group:
        return
    gathered = getattr(request, "chord_parts", None)
    if wait and gathered is not None:
        settle = functools.partial(_gather, gathered, app, request, state, result)
    else:
        settle = functools.partial(_settle, app, [request], state, result, uuid())
    if wait:
        patiently(f"task {request.id}, which is a member of the chord of group {request.group}", settle)
    else:
        settle()


def _gather(into: list[Any], app: Any, request: Any, state: str, result: Any) -> None:
    part = part_of(app, request, state, result)
    if part is not None:
        into.append((part, request))


def _settle(app: Any, requests: Iterable[Any], state: str, result: Any, run: str) -> None:
    """Count members that have ended alike, in one trip, and end the chords that they complete."""
    found = [(request, part_of(app, request, state, result, f"{run}{n or ''}")) for n, request in enumerate(requests)]
    members = [(request, part) for request, part in found if part is not None]
    if members:
        told = app.backend.count_parts([part for _, part in members])
        for (request, part), mine in zip(members, told, strict=True):
            if mine:
                end_chord(app, request, part)


def part_of(app: Any, request: Any, state: str, result: Any, run: str | None = None) -> ChordPart | None:
    """What is counted of a member of a chord's header that has ended, or None when it is none, or nobody counts here.

    Args:
        run: a name of this report; the same when it is repeated.
    """
    if not request.chord or not request.group:
        return None
    body, group_id, store = request.chord, request.group, app.backend
    if not store.can(BackendCapability.CHORDS):
        # A task that looks at the header from time to time was sent along with it.
        return None
    size, index = body.get("chord_size"), request.group_index
    if size is None and store.can(BackendCapability.CHORD_SIZE):
        size = 0
    if not isinstance(size, int) or not isinstance(index, int):
        fail_body(app, body, ChordError(
            f"the chord of group {group_id} cannot be counted: its messages do not say how many members it has; "
            f"they come from a program that counts in a result store, which is not the one configured here"
        ))  # fmt: skip
        return None
    fence = getattr(request, "delivery_fence", 0)
    make = functools.partial(store.chord_part, group_id, index, size, request.id, run=run, fence=fence)
    part: ChordPart
    try:
        part = make(state=state, result=result)
    except EncodeError as error:
        part = make(state=FAILURE, result=error)
    return part


def end_chord(app: Any, request: Any, part: ChordPart) -> None:
    """Send the body of a chord, or let it fail, when the store has told a member that it is to end it.

    Args:
        request: of that member.
        part: what was counted of it.

    Raises:
        OperationalError: the store or the broker is away; calling this again is harmless.
    """
    try:
        ended = app.backend.chord_results(part)
    except (ContentError, BackendError) as error:
        ended = [(request.id, FAILURE, error)]
    if ended is not None:
        with app.ending_chord(part.group_id, part.run, request.chord.get("chord_sent")):
            _end(app, request, ended)


def patiently(who: str, attempt: Callable[[], None]) -> None:
    """Do what needs the store or the broker, and while one of them is away try again."""
    pause = _FIRST_PAUSE
    while True:
        try:
            return attempt()
        except OperationalError as error:
            logger.warning("%s has ended and cannot report it: %s; trying again in %.1f seconds", who, error, pause)
        time.sleep(pause)
        pause = min(pause * 2, _LONGEST_PAUSE)


def _end(app: Any, request: Any, parts: list[tuple[str, str, Any]]) -> None:
    """Send the body of a chord whose members ended so, or let it fail."""
    for member, state, value in parts:
        if state in PROPAGATE_STATES:
            fail_body(app, request.chord, header_error(request.group, value, member))
            return
    send_body(app, request.chord, [value for *_, value in parts], request)


def header_error(group_id: Any, cause: Any, member: str | None = None) -> ChordError:
    """What a body fails with when a member of its header has failed."""
    who = f"task {member}, a member of the header" if member else "a member of the header"
    failed = ChordError(f"{who}, group {group_id}, raised {brief(cause, 500)}")
    failed.__cause__ = cause if isinstance(cause, BaseException) else None
    return failed


def send_body(app: Any, body: Any, values: list[Any], request: Any = None) -> None:
    """Send a chord's body with the results of the header; when that is not possible, it fails.

    Raises:
        OperationalError: the broker or the store is away; trying again can help.
    """
    options = {}
    if request is not None:
        options = {"parent_id": request.id, "root_id": getattr(request, "root_id", None) or request.id}
    try:
        with app.batching():
            maybe_signature(body, app=app, clone=True).apply_async((values,), **options)
    except OperationalError:
        raise
    except Exception as error:
        # Whatever it is, such as arguments that it does not take: who waits for the body has to be told.
        logger.exception("the body of a chord could not be sent")
        refused = ChordError(f"the body could not be sent: {type(error).__name__}: {error}")
        refused.__cause__ = error
        fail_body(app, body, refused)


def fail_body(app: Any, body: Any, exc: BaseException) -> None:
    """Let a chord's body, and what follows it, fail because it cannot run; calls its errbacks, each once."""
    sig = maybe_signature(body, app=app, clone=True)
    fail(app, [sig], exc)
    _call_errbacks_of(app, sig, exc)


def fail_body_eagerly(app: Any, body: Any, exc: BaseException) -> None:
    """Call the errbacks of a body that cannot run, each once, here and now; nothing is stored."""
    _call_errbacks_of(app, body, exc, is_eager=True)


def _call_errbacks_of(app: Any, sig: Any, exc: BaseException, *, is_eager: bool = False) -> None:
    errbacks: list[Any] = []
    for errback in _errbacks_of(sig):
        if errback not in errbacks:
            errbacks.append(errback)
    if errbacks:
        who = _Ended(sig.id or "", sig.task, sig.root_id, sig.parent_id, errbacks=errbacks, is_eager=is_eager)
        call_errbacks(app, errbacks, who, exc, None)


def fail(
    app: Any, signatures: Iterable[Any], exc: BaseException, traceback: str | None = None, *, store: bool = True
) -> None:
    """Let tasks that were never sent fail: store it in one batch, and count those that are members of a chord.

    Raises:
        OperationalError: the store is away; calling this again is harmless.
    """
    results = app.backend
    ended = [task for sig in signatures for task in _tasks_in(app, sig)]
    if store and results.enabled:
        results.store([results.record(task.id, FAILURE, exc, traceback=traceback, request=task) for task in ended])
    _settle(app, ended, FAILURE, exc, uuid())


def _tasks_in(app: Any, sig: Any) -> list[_Ended]:
    """The tasks with an id whose results somebody may wait for."""
    sig = maybe_signature(sig, app=app)
    if sig.subtask_type in ("chain", "group"):
        found = [task for inner in sig.tasks for task in _tasks_in(app, inner)]
    elif sig.subtask_type == "chord":
        found = [task for inner in (*sig.tasks, sig.body) if inner is not None for task in _tasks_in(app, inner)]
    elif sig.id:
        get = sig.options.get
        found = [
            _Ended(
                sig.id,
                sig.task,
                get("root_id"),
                get("parent_id"),
                get("group_id"),
                get("group_index"),
                get("chord"),
                get("reply_to"),
            )
        ]
    else:
        found = []
    for later in as_list(sig.options.get("chain")):
        found += _tasks_in(app, later)
    return found


def _errbacks_of(sig: Any) -> list[Any]:
    """The errbacks of what would have run first: of all members of a group, but of the first step of a chain only."""
    found = as_list(sig.options.get("link_error"))
    if sig.subtask_type in ("chain", "group"):
        first = sig.tasks if sig.subtask_type == "group" else sig.tasks[:1]
        found += [errback for inner in first for errback in _errbacks_of(inner)]
    elif sig.subtask_type == "chord" and sig.body is not None:
        found += _errbacks_of(sig.body)
    return found


__all__ = [
    "end_chord",
    "fail",
    "fail_body",
    "fail_body_eagerly",
    "follow_failure",
    "follow_success",
    "header_error",
    "part_of",
    "patiently",
    "send_body",
    "settle_chord",
]
