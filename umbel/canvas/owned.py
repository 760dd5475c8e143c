"""What is done with the parts of a workflow that is sent or run, which nobody else has: a copy was made of the whole.

So they are changed and not copied again, and sending takes work in proportion to the size, however they are nested. A
user's kind of signature that does it in a way of its own is asked to.
"""

from __future__ import annotations

from typing import Any

from umbel.canvas.place import Place
from umbel.canvas.signature import Signature


def post(part: Any, args: Any, kwargs: Any, options: dict[str, Any]) -> Any:
    """Send a part; see ``Signature.apply_async``."""
    if type(part).apply_async is Signature.apply_async:
        return part._post(args, kwargs, options)
    return part.apply_async(args, kwargs, **options)


def run(part: Any, args: Any, kwargs: Any, options: dict[str, Any]) -> Any:
    """Run a part here and now; see ``Signature.apply``."""
    if type(part).apply is Signature.apply:
        return part._run(args, kwargs, options)
    return part.apply(args, kwargs, **options)


def settle(part: Any, task_id: str | None, place: Place, index: int | None = None) -> Any:
    """Settle the ids of a part and of all inside; see ``Signature.freeze``."""
    if type(part).freeze is Signature.freeze:
        return part._settle(task_id, place, index)
    return part.freeze(task_id, place.group_id, place.chord, place.root_id, place.parent_id, index)
