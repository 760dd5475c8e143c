"""``task.chunks(items, n)``: many calls in parcels."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

from umbel.canvas.group import group
from umbel.canvas.mapping import xstarmap
from umbel.canvas.signature import Signature, maybe_signature


@Signature.register_type()
class chunks(Signature):
    """Calls ``task(*item)`` for each item, ``n`` items to a message.

    Args:
        task: the signature to call.
        it: the items, each a sequence of arguments.
        n: how many go into one message.
    """

    def __init__(self, task: Any, it: Iterable[Any], n: int, **options: Any) -> None:
        app = options.pop("app", None)
        items = it if isinstance(it, list | tuple) else list(it)
        # Celery gives these no subtask_type, so what comes off the wire is a call of a task that sends the parcels.
        super().__init__("celery.chunks", (), {"task": task, "it": items, "n": n}, options, immutable=True, app=app)

    def _adopt(self) -> None:
        self["kwargs"]["task"] = maybe_signature(self["kwargs"].get("task"), app=self._app)

    def _inner_app(self) -> Any:
        task = self["kwargs"]["task"]
        return task.app if isinstance(task, Signature) else None

    def _expanded(self) -> Any:
        return self.group().set(**self["options"])

    def group(self) -> Any:
        """The parcels as a group of ``xstarmap``."""
        task, size, items = self["kwargs"]["task"], self["kwargs"]["n"], iter(self["kwargs"]["it"])
        parcels = iter(lambda: list(itertools.islice(items, size)), [])
        return group((xstarmap(task, parcel, app=self._app) for parcel in parcels), app=self._app)

    def apply_async(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:  # type: ignore[override]
        """Send the parcels; returns a ``GroupResult``."""
        _, _, merged = self._merge(options=options)
        return self.group().apply_async(args, kwargs, **merged)

    def apply(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        """Run the parcels here and now; returns a ``GroupResult``."""
        _, _, merged = self._merge(options=options)
        return self.group().apply(args, kwargs, **merged)

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Send the parcels."""
        return self.apply_async(**options)

    @classmethod
    def apply_chunks(cls, task: Any, it: Iterable[Any], n: int, app: Any = None) -> Any:
        """Send a task's calls in parcels."""
        return cls(task, it, n, app=app).apply_async()
