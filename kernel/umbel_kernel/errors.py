"""The one tree of errors that the kernel and every plugin raise.

A plugin lets no foreign exception out: it raises one of these, chained to its cause. Each carries its facts as
attributes and says what to do next.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class UmbelError(Exception):
    """The root of every error that umbel raises on its own account."""


class ConfigurationError(UmbelError):
    """A setting, option or URL is wrong; the message names it and what is allowed."""


class NotSupported(UmbelError):
    """A plugin was asked for something that its capabilities do not name."""


class GraphError(UmbelError):
    """The steps of a blueprint cannot be put in order."""


class CircularDependency(GraphError):
    """Steps need each other in a circle: ``circle`` has their names, the first repeated at the end."""

    def __init__(self, circle: Sequence[str]) -> None:
        self.circle = tuple(circle)
        found = " -> ".join(circle)
        super().__init__(f"steps need each other in a circle: {found}; drop a need, or split the step both sides share")


class UnmetRequirement(GraphError):
    """The step named ``step`` needs ``need``, and no step provides it; ``known`` is what there is."""

    def __init__(self, step: str, need: str, known: Sequence[str], hint: str = "") -> None:
        self.step, self.need, self.known = step, need, tuple(known)
        there = ", ".join(known) or "nothing"
        said = hint or f"add a step that provides it, or install the plugin that does; provided here: {there}"
        super().__init__(f"step {step!r} needs {need!r}, which no step provides; {said}")


class DuplicateProvider(GraphError):
    """Two steps bear one name or provide the same thing."""

    def __init__(self, name: str, first: str, second: str) -> None:
        self.name, self.steps = name, (first, second)
        super().__init__(f"{name!r} comes from two steps, {first} and {second}; remove one of them")


class PluginError(UmbelError):
    """A plugin cannot be had. ``kind`` is in the plural, such as ``brokers``; ``name`` is what was asked for."""


class PluginNotFound(PluginError):
    """No installed distribution offers this plugin; ``installed`` has the names that are there."""

    def __init__(self, kind: str, name: str, installed: Sequence[str], suggestion: str = "") -> None:
        self.kind, self.name, self.installed = kind, name, tuple(installed)
        guess = f"did you mean {suggestion!r}? " if suggestion else ""
        super().__init__(
            f"no {kind.removesuffix('s')} named {name!r} is installed; {guess}"
            f"installed {kind}: {', '.join(installed) or 'none'}; "
            f"pip install 'umbel[{name}]' brings it if umbel has one"
        )


class PluginConflict(PluginError):
    """Two distributions offer one name."""

    def __init__(self, kind: str, name: str, distributions: Sequence[str]) -> None:
        self.kind, self.name, self.distributions = kind, name, tuple(distributions)
        offered = " and ".join(distributions)
        super().__init__(f"the {kind.removesuffix('s')} {name!r} is offered by {offered}; uninstall all but one")


class PluginBroken(PluginError):
    """A plugin is installed but cannot be imported, or is not what its kind asks for."""

    def __init__(self, kind: str, name: str, distribution: str, reason: str) -> None:
        self.kind, self.name, self.distribution = kind, name, distribution
        super().__init__(f"the {kind.removesuffix('s')} {name!r} of {distribution} cannot be used: {reason}")


class OperationalError(UmbelError):
    """A broker or a store cannot be reached, went away, or did not answer in time. Trying again later can help."""


class ChannelError(UmbelError):
    """A broker is there and refuses: no such queue, no right, arguments that do not match."""


class PublishError(OperationalError):
    """Some messages of a batch were not taken: ``failed`` has them in the order given, ``taken`` counts the others."""

    def __init__(self, reason: str, failed: Sequence[Any] = (), taken: int = 0) -> None:
        self.failed, self.taken = tuple(failed), taken
        super().__init__(reason)


class BackendError(UmbelError):
    """A result store is there and refuses, or holds what cannot be read."""


class ContentError(UmbelError):
    """A body cannot be written or read."""


class EncodeError(ContentError):
    """A value cannot be serialised."""


class DecodeError(ContentError):
    """A body is not what its content type says, or nests too deeply."""


class ContentRefused(ContentError):
    """A content type or encoding that is unknown, or known and not accepted here."""


class ContentTooLarge(ContentError):
    """A body of ``size`` bytes, as far as it was seen, is over ``limit``, before or after decompression."""

    def __init__(self, size: int, limit: int) -> None:
        self.size, self.limit = size, limit
        super().__init__(f"a body of {size} bytes is over the limit of {limit} bytes")


class PoolError(UmbelError):
    """A pool cannot do what was asked of it."""


class WorkerLostError(PoolError):
    """The process that ran a job went away before the job ended."""


class Terminated(PoolError):
    """A running job was ended by a signal on request."""


class TimeLimitExceeded(PoolError):
    """A job ran over its hard time limit and was killed. The first argument is the limit in seconds."""

    def __str__(self) -> str:
        return f"TimeLimitExceeded{self.args}"


class SoftTimeLimitExceeded(Exception):
    """Raised inside a job that runs over its soft time limit; the job may catch it and tidy up."""

    def __str__(self) -> str:
        return f"SoftTimeLimitExceeded{self.args}"


class JobInterrupted(BaseException):
    """Raised in the middle of a job to end it: ``execute`` lets it through, as do tasks that catch ``Exception``."""
