"""The catalogue put together, by name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from umbel.config.catalogue.beat import BEAT
from umbel.config.catalogue.broker import BROKER
from umbel.config.catalogue.control import CONTROL
from umbel.config.catalogue.daemon import DAEMON
from umbel.config.catalogue.event import EVENT
from umbel.config.catalogue.general import GENERAL
from umbel.config.catalogue.result import RESULT
from umbel.config.catalogue.security import SECURITY
from umbel.config.catalogue.stores import STORES
from umbel.config.catalogue.task import TASK
from umbel.config.catalogue.worker import WORKER
from umbel_kernel.setting import Setting

SECTIONS: Mapping[str, tuple[Setting, ...]] = MappingProxyType(
    {
        "general": GENERAL,
        "broker": BROKER,
        "task": TASK,
        "worker": WORKER,
        "result": RESULT,
        "beat": BEAT,
        "control": CONTROL,
        "event": EVENT,
        "security": SECURITY,
        "stores": STORES,
        "daemon": DAEMON,
    }
)
"""The settings in the order in which people read them, by section."""

CATALOGUE: Mapping[str, Setting] = MappingProxyType(
    {setting.name: setting for settings in SECTIONS.values() for setting in settings}
)
"""Every setting known without any plugin, by its name."""

FRAMEWORK_GROUPS = ("task_", "worker_", "broker_", "result_", "beat_", "event_", "events_", "control_", "security_")
"""How names begin that belong to the framework: nobody else's setting may begin so."""
