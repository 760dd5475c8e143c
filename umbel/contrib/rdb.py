"""A remote debugger for tasks: ``from umbel.contrib import rdb; rdb.set_trace()``. See ``umbel.model.rdb``."""

from umbel.model.rdb import Rdb, debugger, set_trace

__all__ = ["Rdb", "debugger", "set_trace"]
