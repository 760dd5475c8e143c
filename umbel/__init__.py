"""umbel: a distributed task queue with Celery's API, command line and wire protocol.

``from umbel import Umbel`` is all that a first program needs. A name is imported when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    __version__: str
    from umbel.app.app import Umbel as Umbel
    from umbel.app.shared import shared_task as shared_task
    from umbel.app.task import Task as Task
    from umbel.canvas.chain import chain as chain
    from umbel.canvas.chord import chord as chord
    from umbel.canvas.chunks import chunks as chunks
    from umbel.canvas.group import group as group
    from umbel.canvas.mapping import xmap as xmap
    from umbel.canvas.mapping import xstarmap as xstarmap
    from umbel.canvas.signature import Signature as Signature
    from umbel.canvas.signature import maybe_signature as maybe_signature
    from umbel.canvas.signature import signature as signature
    from umbel.model.current import current_app as current_app
    from umbel.model.current import current_task as current_task
    from umbel.model.ids import uuid as uuid
    from umbel_kernel.hooks import hookimpl as hookimpl
    from umbel_kernel.spi.topology import Binding as Binding
    from umbel_kernel.spi.topology import Exchange as Exchange
    from umbel_kernel.spi.topology import Queue as Queue
    from umbel_kernel.step import Step as Step

_HOMES = {
    "__version__": "umbel.model.version",
    "Umbel": "umbel.app.app",
    "shared_task": "umbel.app.shared",
    "Task": "umbel.app.task",
    "chain": "umbel.canvas.chain",
    "chord": "umbel.canvas.chord",
    "chunks": "umbel.canvas.chunks",
    "group": "umbel.canvas.group",
    "xmap": "umbel.canvas.mapping",
    "xstarmap": "umbel.canvas.mapping",
    "Signature": "umbel.canvas.signature",
    "maybe_signature": "umbel.canvas.signature",
    "signature": "umbel.canvas.signature",
    "subtask": "umbel.canvas.signature",
    "current_app": "umbel.model.current",
    "current_task": "umbel.model.current",
    "uuid": "umbel.model.ids",
    "hookimpl": "umbel_kernel.hooks",
    "Binding": "umbel_kernel.spi.topology",
    "Exchange": "umbel_kernel.spi.topology",
    "Queue": "umbel_kernel.spi.topology",
    "Step": "umbel_kernel.step",
}
_NAMES = {"__version__": "VERSION", "subtask": "signature"}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'umbel' has no attribute {name!r}")
    found = getattr(importlib.import_module(home), _NAMES.get(name, name))
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
