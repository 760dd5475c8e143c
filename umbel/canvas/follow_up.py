"""What follows the end of a task: its callbacks, the rest of its chain, its chord, its errbacks.

A worker calls ``follow_success`` before it stores a result, so that the result knows the tasks that were sent;
``follow_failure`` and ``settle_chord`` after. Each does nothing when there is nothing to do.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from umbel.canvas.errbacks import call_errbacks
from umbel.canvas.signature import as_list, maybe_signature
from umbel.model.brief import brief
from umbel.model.exceptions import ChordError
from umbel.model.states import FAILURE, PROPAGATE_STATES
from umbel_kernel.errors import EncodeError, UmbelError
from umbel_kernel.spi.backend import BackendCapability

logger = logging.getLogger(__name__)


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
    errbacks: list[Any] = field(default_factory=list)
    delivery_info: dict[str, Any] = field(default_factory=dict)
    is_eager: bool = False


def follow_success(app: Any, request: Any, result: Any) -> None:
    """Send the callbacks and the next step of the chain of a task that ended well.

    Raises:
        OperationalError: a message could not be sent.
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
    for callback in callbacks or ():
        maybe_signature(callback, app=app, clone=True).apply_async((result,), **options)
    if chain:
        maybe_signature(chain[-1], app=app, clone=True).apply_async((result,), chain=list(chain[:-1]), **options)


def follow_failure(app: Any, request: Any, exc: BaseException, traceback_text: str | None = None) -> None:
    """Let the rest of the chain fail with a task, and call the task's errbacks.

    The chord of the task itself is settled by ``settle_chord``.
    """
    chain, errbacks = request.chain, request.errbacks
    if chain:
        fail(app, chain, exc, traceback_text, store=not getattr(request, "ignore_result", False))
    if errbacks:
        call_errbacks(app, errbacks, request, exc, traceback_text)


def settle_chord(app: Any, request: Any, state: str, result: Any) -> None:
    """Count a member of a chord's header that has ended; the last one sends the body, or lets it fail.

    Args:
        request: of the member; ``chord`` is the body, whose ``chord_size`` says how many members there are.
        result: the member's return value, or its error.
    """
    body, group_id = request.chord, request.group
    if not body or not group_id:
        return
    store = app.backend
    if not store.can(BackendCapability.CHORDS):
        # A task that looks at the header from time to time was sent along with it.
        return
    size, index = body.get("chord_size"), request.group_index
    if size is None and store.can(BackendCapability.CHORD_SIZE):
        size = 0
    if not isinstance(size, int) or not isinstance(index, int):
        fail_body(app, body, ChordError(
            f"the chord of group {group_id} cannot be counted: its messages do not say how many members it has; "
            f"they come from a program that counts in a result store, which is not the one configured here"
        ))  # fmt: skip
        return
    try:
        parts = store.chord_part(group_id, index, size, request.id, state, result)
    except EncodeError as error:
        parts = store.chord_part(group_id, index, size, request.id, FAILURE, error)
    if parts is None:
        return
    for member_state, value in parts:
        if member_state in PROPAGATE_STATES:
            failed = ChordError(f"a member of the header, group {group_id}, raised {brief(value, 500)}")
            failed.__cause__ = value if isinstance(value, BaseException) else None
            fail_body(app, body, failed)
            return
    send_body(app, body, [value for _, value in parts], request)


def send_body(app: Any, body: Any, values: list[Any], request: Any = None) -> None:
    """Send a chord's body with the results of the header; when that is not possible, it fails."""
    options = {}
    if request is not None:
        options = {"parent_id": request.id, "root_id": getattr(request, "root_id", None) or request.id}
    try:
        maybe_signature(body, app=app, clone=True).apply_async((values,), **options)
    except UmbelError as error:
        logger.exception("the body of a chord could not be sent")
        refused = ChordError(f"the body could not be sent: {error}")
        refused.__cause__ = error
        fail_body(app, body, refused)


def fail_body(app: Any, body: Any, exc: BaseException) -> None:
    """Let a chord's body, and what follows it, fail because it cannot run; calls its errbacks, each once."""
    sig = maybe_signature(body, app=app, clone=True)
    fail(app, [sig], exc)
    errbacks: list[Any] = []
    for errback in _errbacks_of(sig):
        if errback not in errbacks:
            errbacks.append(errback)
    if errbacks:
        who = _Ended(sig.id or "", sig.task, sig.root_id, sig.parent_id, errbacks=errbacks)
        call_errbacks(app, errbacks, who, exc, None)


def fail(
    app: Any, signatures: Iterable[Any], exc: BaseException, traceback: str | None = None, *, store: bool = True
) -> None:
    """Let tasks that were never sent fail: store it in one batch, and count those that are members of a chord."""
    results = app.backend
    ended = [task for sig in signatures for task in _tasks_in(app, sig)]
    if store and results.enabled:
        results.store([results.record(task.id, FAILURE, exc, traceback=traceback, request=task) for task in ended])
    for task in ended:
        if task.chord:
            settle_chord(app, task, FAILURE, exc)


def _tasks_in(app: Any, sig: Any) -> list[_Ended]:
    """The tasks with an id whose results somebody may wait for."""
    sig = maybe_signature(sig, app=app)
    if sig.subtask_type in ("chain", "group"):
        found = [task for inner in sig.tasks for task in _tasks_in(app, inner)]
    elif sig.subtask_type == "chord":
        found = [] if sig.body is None else _tasks_in(app, sig.body)
    elif sig.id:
        get = sig.options.get
        found = [
            _Ended(
                sig.id, sig.task, get("root_id"), get("parent_id"), get("group_id"), get("group_index"), get("chord")
            )
        ]
    else:
        found = []
    for later in as_list(sig.options.get("chain")):
        found += _tasks_in(app, later)
    return found


def _errbacks_of(sig: Any) -> list[Any]:
    found = as_list(sig.options.get("link_error"))
    if sig.subtask_type in ("chain", "group"):
        found += [errback for inner in sig.tasks for errback in _errbacks_of(inner)]
    elif sig.subtask_type == "chord" and sig.body is not None:
        found += _errbacks_of(sig.body)
    return found


__all__ = ["fail", "fail_body", "follow_failure", "follow_success", "send_body", "settle_chord"]
