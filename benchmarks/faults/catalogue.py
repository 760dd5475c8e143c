"""All scenarios, in the order in which they are run. A new one is added here."""

from __future__ import annotations

from typing import cast

from faults import (
    frozen,
    half_open,
    kill_children,
    kill_worker,
    long_task,
    malformed,
    publishing,
    reset_storm,
    restart_broker,
)
from faults.scenario import Scenario

_MODULES: tuple[object, ...] = (
    kill_children,
    kill_worker,
    restart_broker,
    half_open,
    reset_storm,
    long_task,
    frozen,
    malformed,
    publishing,
)
SCENARIOS = tuple(cast(Scenario, module) for module in _MODULES)
