"""What is raised when a configuration is wrong."""

from __future__ import annotations

from collections.abc import Sequence

from umbel_kernel.errors import ConfigurationError


class SettingError(ConfigurationError):
    """A setting is unknown or has a value it cannot have.

    Attributes:
        name: the setting as it was written.
        value: its value as shown to people, secrets masked; empty where the value is not at fault.
        suggestion: the name that was probably meant, or empty.
        source: where it was set, such as ``config module 'celeryconfig'``.
        others: further errors of the same source, so that all are seen at once.
    """

    def __init__(
        self,
        name: str,
        reason: str,
        *,
        value: str = "",
        suggestion: str = "",
        source: str = "",
        others: Sequence[SettingError] = (),
    ) -> None:
        self.name = name
        self.reason = reason
        self.value = value
        self.suggestion = suggestion
        self.source = source
        self.others = tuple(others)
        super().__init__("\n".join([reason, *(other.reason for other in others)]))


class MixedNamesError(SettingError):
    """One source uses names from before Celery 4 beside today's.

    Attributes:
        renames: each name in the minority, with the name to give it.
    """

    def __init__(self, renames: Sequence[tuple[str, str]], kept: str, source: str) -> None:
        self.renames = tuple(renames)
        shown = ", ".join(f"{name} -> {new}" for name, new in renames)
        super().__init__(
            renames[0][0],
            f"{source} mixes old and new names of settings (it also has {kept!r}); rename: {shown}",
            suggestion=renames[0][1],
            source=source,
        )


class SourceError(ConfigurationError, ImportError):
    """The source of a configuration cannot be read. It is an ImportError too, as the callers of Celery expect."""
