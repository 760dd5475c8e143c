"""A running task that lets another signature take its place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from umbel.app import outbox
from umbel.model.exceptions import Ignore, ImproperlyConfigured, NotSupported, Replaced
from umbel.model.later import Later

_uuid = Later("uuid")
if TYPE_CHECKING:
    import umbel.canvas.chord as chord  # the module, not the class of its name
    from umbel import canvas
    from umbel.canvas import composite
    from umbel.results import joining
    from umbel_kernel.spi import backend
else:
    canvas, composite, chord = Later("umbel.canvas"), Later("umbel.canvas.composite"), Later("umbel.canvas.chord")
    joining, backend = Later("umbel.results.joining"), Later("umbel_kernel.spi.backend")


def replace_running(app: Any, task: Any, sig: Any) -> Any:
    """Send ``sig`` under the running task's id, with all that was to follow the task, and end the run.

    What ends in a group is given a task that gathers its results, so that it has one result as the task had.

    Raises:
        Ignore: always, so that the running task's own outcome is not stored; run eagerly, with the other's value.
        ImproperlyConfigured: it is no signature, or holds no task.
    """
    request = task.request
    sig = task.on_replace(sig)
    if not isinstance(sig, canvas.Signature):
        raise ImproperlyConfigured(f"{task.name}: replace takes a signature, not {sig!r:.80}")
    if isinstance(sig, canvas._chain) and composite.is_nothing(sig):
        raise ImproperlyConfigured(f"{task.name} cannot be replaced with a chain without tasks")
    sig = chord.as_one(sig.clone())
    nesting = (request.replaced_task_nesting or 0) + 1
    if request.is_eager:
        # What follows the task is called by whoever runs it, with the value that it gets here.
        with joining.allow_join_result():
            raise Replaced(sig.apply(task_id=request.id, replaced_task_nesting=nesting).get())
    for callback in request.callbacks or ():
        sig.link(app.signature(callback))
    for errback in request.errbacks or ():
        sig.link_error(app.signature(errback))
    options = {"replaced_task_nesting": nesting, "root_id": request.root_id, "parent_id": request.parent_id}
    for option, value in (("chord", request.chord), ("group_id", request.group), ("group_index", request.group_index)):
        if value is not None:
            options[option] = value
    sig.set(**options)
    sig.freeze(request.id)
    if isinstance(sig, canvas._chain):
        for step in sig.tasks:
            step.set(replaced_task_nesting=nesting)
    with outbox.gathering() as gathered:
        sig.apply_async(**({"chain": request.chain} if request.chain else {}))
    # They go out when the run is settled, as those of any task that has ended do.
    request.outgoing = [*(request.outgoing or ()), *gathered]
    raise Ignore("Replaced by new task")


def add_to_chord(app: Any, task: Any, sig: Any, lazy: bool) -> Any:
    """Send ``sig`` as one more member of the header that the running task is a member of, after all others.

    A run that is repeated because its process died adds the same member and not another one.

    Returns:
        Its result; with ``lazy`` the signature, which has to be sent before the running task ends.

    Raises:
        ValueError: the task is no member of a chord.
        NotSupported: the result backend cannot let a header grow that was sent.
    """
    request = task.request
    if not request.chord or not request.group:
        raise ValueError(f"{task.name} is no member of a chord now, so there is nothing to add to")
    if not isinstance(sig, canvas.Signature):
        raise TypeError(f"{task.name}: add_to_chord takes a signature, not {sig!r:.80}")
    if not app.backend.can(backend.BackendCapability.CHORD_GROWTH):
        raise NotSupported(
            f"{task.name} cannot add to its chord: {app.backend.as_uri()} cannot let a header grow that was sent; "
            f"let the task replace itself with a group instead: self.replace(group(...))"
        )
    request.added += 1
    member = f"{request.id}:{request.retries}:{request.added}"
    index = app.backend.add_to_chord(request.group, request.chord.get("chord_size") or 0, member)
    sig = chord.as_one(sig.clone())
    sig.set(group_id=request.group, group_index=index, chord=request.chord, root_id=request.root_id)
    result = sig.freeze(str(_uuid.uuid5(_uuid.NAMESPACE_OID, member)))
    if lazy:
        return sig
    # Without an index the header is complete: this run repeats one that has counted, and so did what that one added.
    return result if index is None else sig.apply_async()
