"""``task.starmap(items)``: the task called with the members of each item."""

from __future__ import annotations

from umbel.canvas.mapping import Mapping
from umbel.canvas.signature import Signature


@Signature.register_type()
class xstarmap(Mapping):
    """Calls ``task(*item)`` for each item."""

    TASK = "celery.starmap"
    CALL = "*x"
