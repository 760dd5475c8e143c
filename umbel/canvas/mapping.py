"""One message that calls a task for each of many items: ``task.map(items)`` and ``task.starmap(items)``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from umbel.canvas.parts import callable_of, items_of
from umbel.canvas.signature import Signature, _given, maybe_signature
from umbel.model.brief import brief


class _Mapping(Signature):
    """A task and the items that it is called with, one after another, in one process.

    Args:
        task: the signature to call; its own arguments do not count.
        it: the items.
    """

    TASK: ClassVar[str]
    CALL: ClassVar[str]

    def __init__(self, task: Any, it: Iterable[Any], **options: Any) -> None:
        app = options.pop("app", None)
        items = items_of(it, self.TASK)
        # Celery gives these no subtask_type, so what comes off the wire is a plain call of the built-in task.
        super().__init__(
            self.TASK, (), {"task": callable_of(task, self.TASK), "it": items}, options, immutable=True, app=app
        )

    def _adopt(self) -> None:
        self["kwargs"]["task"] = maybe_signature(self["kwargs"].get("task"), app=self._app)

    def _inner_app(self) -> Any:
        task = self["kwargs"]["task"]
        return task.app if isinstance(task, Signature) else None

    def _post(self, args: Any, kwargs: Any, options: dict[str, Any]) -> Any:
        """Send it, by the route of the task that it calls."""
        _, _, options = self._merge(options=options)
        options.setdefault("route_name", getattr(self["kwargs"]["task"], "name", None))
        return self._send((), {"task": self["kwargs"]["task"], "it": list(self["kwargs"]["it"])}, _given(options))

    def __repr__(self) -> str:
        return f"[{self['kwargs']['task']['task']}({self.CALL}) for x in {brief(self['kwargs']['it'], 100)}]"


@Signature.register_type()
class xmap(_Mapping):
    """Calls ``task(item)`` for each item."""

    TASK = "celery.map"
    CALL = "x"


@Signature.register_type()
class xstarmap(_Mapping):
    """Calls ``task(*item)`` for each item."""

    TASK = "celery.starmap"
    CALL = "*x"
