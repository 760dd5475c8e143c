"""The bootsteps that an app's user adds to the worker."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from umbel_kernel.errors import ConfigurationError
from umbel_kernel.step import Step


class StepSet:
    """The steps added to one blueprint, in the order of their addition."""

    def __init__(self, blueprint: str) -> None:
        self.blueprint = blueprint
        self._steps: list[type[Step]] = []

    def add(self, step: type[Step]) -> None:
        """Add a step class; adding it again changes nothing.

        Raises:
            ConfigurationError: it is no step.
        """
        if not (isinstance(step, type) and issubclass(step, Step)):
            raise ConfigurationError(f"{step!r} is no step for the {self.blueprint}: subclass umbel.Step")
        if step not in self._steps:
            self._steps.append(step)

    def update(self, steps: Any) -> None:
        """Add several."""
        for step in steps:
            self.add(step)

    def discard(self, step: type[Step]) -> None:
        """Remove a step that was added."""
        if step in self._steps:
            self._steps.remove(step)

    def __iter__(self) -> Any:
        return iter(self._steps)

    def __len__(self) -> int:
        return len(self._steps)

    def __contains__(self, step: object) -> bool:
        return step in self._steps


class Steps(defaultdict[str, StepSet]):
    """``app.steps["worker"]`` and ``app.steps["consumer"]``."""

    def __missing__(self, blueprint: str) -> StepSet:
        if blueprint not in ("worker", "consumer"):
            raise ConfigurationError(f"there is no blueprint {blueprint!r}; there are 'worker' and 'consumer'")
        made = self[blueprint] = StepSet(blueprint)
        return made
