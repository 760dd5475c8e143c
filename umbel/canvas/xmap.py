"""``task.map(items)``: the task called with each item."""

from __future__ import annotations

from umbel.canvas.mapping import Mapping
from umbel.canvas.signature import Signature


@Signature.register_type()
class xmap(Mapping):
    """Calls ``task(item)`` for each item."""

    TASK = "celery.map"
    CALL = "x"
