"""``task.chunks(items, n)``: many calls in parcels."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

from umbel.canvas.group import group
from umbel.canvas.mapping import xstarmap
from umbel.canvas.owned import post, run, settle
from umbel.canvas.parts import as_list, callable_of, items_of
from umbel.canvas.place import Place
from umbel.canvas.signature import Signature, maybe_signature


@Signature.register_type()
class chunks(Signature):
    """Calls ``task(*item)`` for each item, ``n`` items to a message.

    Args:
        task: the signature to call.
        it: the items, each a sequence of arguments.
        n: how many go into one message.
    """

    _frozen: Any = None

    def __init__(self, task: Any, it: Iterable[Any], n: int, **options: Any) -> None:
        app = options.pop("app", None)
        items = items_of(it, "celery.chunks")
        if not isinstance(n, int) or n < 1:
            raise ValueError(f"the size of a chunk is a whole number of 1 or more, not {n!r:.80}")
        task = callable_of(task, "celery.chunks")
        # Celery gives these no subtask_type, so what comes off the wire is told by the name of the task.
        super().__init__("celery.chunks", (), {"task": task, "it": items, "n": n}, options, immutable=True, app=app)

    def _adopt(self) -> None:
        self["kwargs"]["task"] = maybe_signature(self["kwargs"].get("task"), app=self._app)

    @classmethod
    def _describes(cls, data: Mapping[str, Any]) -> bool:
        kwargs = data.get("kwargs") or {}
        size = kwargs.get("n")
        return (
            isinstance(kwargs.get("task"), dict)
            and isinstance(kwargs.get("it"), list | tuple)
            and isinstance(size, int)
            and size >= 1
        )

    def _inner_app(self) -> Any:
        task = self["kwargs"]["task"]
        return task.app if isinstance(task, Signature) else None

    def _expanded(self) -> Any:
        """The parcels, with its options; its errbacks are on each of them."""
        if self._frozen is not None:
            return self._frozen.clone()
        options = dict(self["options"])
        parcels = self.group()
        for errback in as_list(options.pop("link_error", None)):
            parcels.link_error(errback)
        return parcels.set(**options)

    def group(self) -> Any:
        """The parcels as a group of ``xstarmap``."""
        task, size, items = self["kwargs"]["task"], self["kwargs"]["n"], iter(self["kwargs"]["it"])
        parcels = iter(lambda: list(itertools.islice(items, size)), [])
        made = group((xstarmap(task, parcel, app=self._app) for parcel in parcels), app=self._app)
        made.of_items = True
        return made

    def _settle(self, task_id: str | None, place: Place, index: int | None) -> Any:
        """See ``Signature.freeze``; returns the ``GroupResult`` of the parcels."""
        self._frozen = self._expanded()
        return settle(self._frozen, task_id, place, index)

    def _post(self, args: Any, kwargs: Any, options: dict[str, Any]) -> Any:
        """Send the parcels; returns a ``GroupResult``."""
        return post(self._expanded(), args, kwargs, options)

    def _run(self, args: Any, kwargs: Any, options: dict[str, Any]) -> Any:
        """Run the parcels here and now; returns a ``GroupResult``."""
        return run(self._expanded(), args, kwargs, options)

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Send the parcels."""
        return self.apply_async(**options)

    @classmethod
    def apply_chunks(cls, task: Any, it: Iterable[Any], n: int, app: Any = None) -> Any:
        """Send a task's calls in parcels."""
        return cls(task, it, n, app=app).apply_async()


Signature.BY_TASK["celery.chunks"] = chunks
