"""A running task that lets another signature take its place."""

from __future__ import annotations

from typing import Any

from umbel.canvas.chord import as_one
from umbel.canvas.signature import Signature
from umbel.model.exceptions import Ignore, ImproperlyConfigured, NotSupported


def replace_running(app: Any, task: Any, sig: Any) -> Any:
    """Send ``sig`` under the running task's id, with its callbacks, and end the run.

    Raises:
        Ignore: always, in a worker, so that the running task's own outcome is not stored.
    """
    request = task.request
    sig = task.on_replace(sig)
    nesting = (request.replaced_task_nesting or 0) + 1
    if not isinstance(sig, Signature):
        raise ImproperlyConfigured(f"replace takes a signature, not {sig!r:.80}")
    group_id = sig.get("options", {}).get("group_id")
    sig = as_one(sig)
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
    sig.freeze(request.id, **({"group_id": group_id} if group_id else {}))
    if request.is_eager:
        return sig.apply().get()
    sig.apply_async()
    raise Ignore("Replaced by new task")


def add_to_chord(task: Any) -> Any:
    """Refuse to add a member to a header that is on its way: its size has been sent with every member.

    Raises:
        NotSupported: always.
    """
    raise NotSupported(
        f"{task.name} cannot add to its chord, whose size was fixed when it was sent; "
        f"let the task replace itself with a group instead: self.replace(group(...))"
    )
