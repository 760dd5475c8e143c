"""The settings of the asyncio pool."""

from __future__ import annotations

from umbel_kernel.setting import Setting

THREADS = Setting(
    "asyncio_threads",
    "int",
    20,
    "How many tasks that are plain functions the asyncio pool runs at once, in threads beside its event loop.",
)
LOOP = Setting(
    "asyncio_loop",
    "str",
    "",
    'What makes the event loop of the asyncio pool, as module:function, such as "uvloop:new_event_loop"; '
    "asyncio's own by default.",
)
STALL = Setting(
    "asyncio_stall",
    "float",
    1.0,
    "Seconds that something may hold up the event loop of the asyncio pool before a warning names it; 0 for never.",
)
