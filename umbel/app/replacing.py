"""A running task that lets another signature take its place, or joins one to its chord."""

from __future__ import annotations

from typing import Any

from umbel.model.exceptions import Ignore, ImproperlyConfigured


def replace_running(app: Any, task: Any, sig: Any) -> Any:
    """Send ``sig`` under the running task's id, with its callbacks, and end the run.

    Raises:
        Ignore: always, in a worker, so that the running task's own outcome is not stored.
    """
    request = task.request
    sig = task.on_replace(sig)
    nesting = (request.replaced_task_nesting or 0) + 1
    options = sig.get("options", {}) if isinstance(sig, dict) else {}
    if not isinstance(sig, dict):
        raise ImproperlyConfigured(f"replace takes a signature, not {sig!r:.80}")
    chain = list(request.chain or [])
    for callback in request.callbacks or []:
        sig.link(app.signature(callback))
    for errback in request.errbacks or []:
        sig.link_error(app.signature(errback))
    sig.set(
        replaced_task_nesting=nesting,
        root_id=request.root_id,
        parent_id=request.parent_id,
        **({"chord": request.chord} if request.chord else {}),
        **({"group_id": request.group, "group_index": request.group_index} if request.group else {}),
    )
    if chain:
        following = app.signature(chain.pop())
        while chain:
            following = following | app.signature(chain.pop())
        sig = sig | following
    sig.freeze(request.id, **{key: options[key] for key in ("group_id",) if key in options})
    if request.is_eager:
        return sig.apply().get()
    sig.apply_async()
    raise Ignore("Replaced by new task")


def add_to_chord(app: Any, task: Any, sig: Any, lazy: bool) -> Any:
    """Make ``sig`` one more member of the header that the running task belongs to."""
    request = task.request
    if not request.chord:
        raise ValueError("the current task is not a member of any chord")
    result = sig.freeze(group_id=request.group, chord=request.chord, root_id=request.root_id)
    app.backend.grow_chord(request.group, result)
    return sig.delay() if not lazy else sig
