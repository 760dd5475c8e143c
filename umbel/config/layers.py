"""The layers of a configuration and the values that they give together."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

from umbel.config.errors import SettingError
from umbel.config.reading import Reading, check
from umbel.config.registry import Registry
from umbel_kernel.setting import Setting


class Layers:
    """Checked values, from the weakest layer to the strongest.

    Attributes:
        defaults: the default of every setting; an app's own copies, as users change dicts in place.
        fallbacks: what stands behind the source.
        reading: what the source holds.
        added: values above the source, the strongest first.
        changes: explicit changes.
        early: the explicit changes made before the source was read.
    """

    __slots__ = ("added", "changes", "defaults", "early", "fallbacks", "reading")

    def __init__(
        self,
        defaults: dict[str, Any],
        fallbacks: dict[str, Any] | None = None,
        reading: Reading | None = None,
        added: list[dict[str, Any]] | None = None,
        changes: dict[str, Any] | None = None,
        early: dict[str, Any] | None = None,
    ) -> None:
        self.defaults = defaults
        self.fallbacks = {} if fallbacks is None else fallbacks
        self.reading = Reading() if reading is None else reading
        self.added = [] if added is None else added
        self.changes = {} if changes is None else changes
        self.early = {} if early is None else early

    @classmethod
    def of(cls, settings: Iterable[Setting]) -> Layers:
        """Layers that hold the defaults only."""
        return cls(defaults={setting.name: default_of(setting) for setting in settings})

    def together(self, with_defaults: bool = True) -> dict[str, Any]:
        """The layers laid over one another."""
        values = {**self.defaults, **self.fallbacks} if with_defaults else dict(self.fallbacks)
        if self.reading.time_zone and "timezone" not in self.reading.values:
            values["timezone"] = self.reading.time_zone
        values.update(self.reading.values)
        for layer in reversed(self.added):
            values.update(layer)
        values.update(self.changes)
        return values

    def check_again(self, registry: Registry, name: str, origin: str) -> list[SettingError]:
        """Check one setting's value in every layer, after the setting's type has become known."""
        problems: list[SettingError] = []
        for layer in (self.changes, self.early, self.reading.values, self.fallbacks, *self.added):
            if name in layer:
                try:
                    layer[name] = check(registry, name, layer[name], origin)
                except SettingError as error:
                    problems.append(error)
        return problems

    def copy(self) -> Layers:
        """Layers that can be changed on their own."""
        return Layers(
            copy.deepcopy(self.defaults),
            dict(self.fallbacks),
            self.reading.copy(),
            [dict(layer) for layer in self.added],
            dict(self.changes),
            dict(self.early),
        )


def default_of(setting: Setting) -> Any:
    """The default of a setting, which the taker may change."""
    return copy.deepcopy(setting.default)
