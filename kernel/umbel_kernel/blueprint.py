"""A blueprint: steps, put in order by what they need, started together and stopped in reverse."""

from __future__ import annotations

import enum
import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from umbel_kernel.errors import DuplicateProvider, GraphError, UnmetRequirement
from umbel_kernel.graph import Graph
from umbel_kernel.step import Context, Step

logger = logging.getLogger(__name__)


class State(enum.Enum):
    """Where a blueprint stands."""

    NEW = "new"
    RUNNING = "running"
    CLOSING = "closing"
    TERMINATING = "terminating"
    STOPPED = "stopped"


class Blueprint:
    """Resolves, starts and stops steps. It may be started again after it was stopped.

    Args:
        name: for messages and drawings.
        steps: step classes or instances; each class is made once.
        hint: asked for a name that nothing provides; returns what to say about it, or an empty string.
    """

    def __init__(
        self, name: str, steps: Iterable[type[Step] | Step], *, hint: Callable[[str], str] | None = None
    ) -> None:
        self.name = name
        self.steps: dict[str, Step] = {}
        self.state = State.NEW
        self.started: list[Step] = []
        self._hint = hint or (lambda need: "")
        self._stopped = threading.Event()
        for given in steps:
            step = given() if isinstance(given, type) else given
            known = self.steps.setdefault(step.name, step)
            if type(known) is not type(step):
                raise DuplicateProvider(step.name, _path(known), _path(step))

    def resolve(self, context: Context) -> list[Step]:
        """The steps that take part, in the order of their start.

        Raises:
            GraphError: a circle, an unmet need, or two providers of one name.
        """
        return [self.steps[name] for name in self.graph(context).order()]

    def graph(self, context: Context) -> Graph:
        """The graph of the steps that take part, by their names."""
        taking = {name: step for name, step in self.steps.items() if step.include_if(context)}
        providers: dict[str, str] = {}
        for name, step in taking.items():
            for thing in dict.fromkeys((name, *step.provides)):
                if thing in providers:
                    raise DuplicateProvider(thing, _path(taking[providers[thing]]), _path(step))
                providers[thing] = name
        first = [name for name, step in taking.items() if not step.last]
        needs: dict[str, set[str]] = {}
        for name, step in taking.items():
            mine = needs.setdefault(name, set())
            for need in step.requires:
                if need in providers:
                    mine.add(providers[need])
                elif need not in context:
                    raise UnmetRequirement(name, need, sorted({*providers, *context}), self._hint(need))
            mine.update(providers[want] for want in step.wants if want in providers)
            if step.last:
                mine.update(first)
        return Graph(needs)

    def start(self, context: Context) -> None:
        """Start every step in order. When one fails, those already started are stopped in reverse, and the error goes
        on to the caller with a note that names the step."""
        if self.started:
            raise GraphError(f"the blueprint {self.name!r} is {self.state.value}; stop it before it is started again")
        self._stopped.clear()
        self.state = State.RUNNING
        for step in self.resolve(context):
            logger.debug("%s: starting %s", self.name, step.name)
            try:
                self._provide(step, context, step.start(context))
            except BaseException as error:
                error.add_note(f"while the {self.name} blueprint started its step {step.name!r}")
                self._undo(context, "stop")
                raise
            self.started.append(step)

    def _provide(self, step: Step, context: Context, value: Any) -> None:
        if not step.provides:
            return
        values = {step.provides[0]: value} if len(step.provides) == 1 else value
        if not isinstance(values, Mapping) or set(values) != set(step.provides):
            raise GraphError(f"step {step.name!r} must return a mapping of exactly {', '.join(step.provides)}")
        for name, thing in values.items():
            context._put(name, thing)

    def close(self, context: Context) -> None:
        """Tell the started steps, in reverse, to take nothing new in."""
        if self.state is State.RUNNING:
            self.state = State.CLOSING
            self._tell("close", context)

    def stop(self, context: Context) -> None:
        """Stop the started steps in reverse. An error of one is logged and does not keep the rest."""
        self.close(context)
        self._undo(context, "stop")

    def terminate(self, context: Context) -> None:
        """End the started steps at once, in reverse."""
        self.state = State.TERMINATING
        self._undo(context, "terminate")

    def join(self, timeout: float | None = None) -> bool:
        """Wait until stopped. Returns whether it is, after at most ``timeout`` seconds."""
        return self._stopped.wait(timeout)

    def info(self, context: Context) -> dict[str, Any]:
        """What each started step says of itself."""
        return {step.name: dict(step.info(context)) for step in self.started}

    def _undo(self, context: Context, method: str) -> None:
        self._tell(method, context)
        for step in self.started:
            for name in step.provides:
                context._drop(name)
        self.started.clear()
        self.state = State.STOPPED
        self._stopped.set()

    def _tell(self, method: str, context: Context) -> None:
        for step in reversed(self.started):
            logger.debug("%s: %s %s", self.name, method, step.name)
            try:
                getattr(step, method)(context)
            except Exception:
                logger.exception("%s: step %r failed to %s; going on with the others", self.name, step.name, method)


def _path(step: Step) -> str:
    return f"{type(step).__module__}.{type(step).__qualname__}"
