"""Reading a source: which of its names are settings, under which names, and whether their values are right."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, time, timedelta
from typing import Any

from umbel.config.conversion import Unfit, convert
from umbel.config.errors import MixedNamesError, SettingError
from umbel.config.old_names import NEW_OF, OLD_OF
from umbel.config.registry import Registry
from umbel.config.secrets import hide
from umbel.config.source import Source
from umbel.model.later import Later

difflib = Later("difflib")
zoneinfo = Later("zoneinfo")
_PLAIN = (bool, int, float, str, bytes, list, tuple, dict, set, frozenset, timedelta, date, time, type(None))
_LONGEST_SHOWN = 80


class Reading:
    """What was read from a source.

    Attributes:
        origin: what it was read from.
        values: each setting's value, converted; and, as they stand, the values of names that are allowed.
        deferred: those of the names in ``values`` that a plugin which is not loaded yet may declare; not checked.
        old: the old names that were used.
        time_zone: Django's ``TIME_ZONE``, which counts when ``timezone`` is not set.
    """

    __slots__ = ("deferred", "old", "origin", "time_zone", "values")

    def __init__(
        self,
        origin: str = "",
        values: dict[str, Any] | None = None,
        deferred: tuple[str, ...] = (),
        old: tuple[str, ...] = (),
        time_zone: str | None = None,
    ) -> None:
        self.origin = origin
        self.values = {} if values is None else values
        self.deferred = deferred
        self.old = old
        self.time_zone = time_zone

    def copy(self) -> Reading:
        """A reading that can be changed on its own."""
        return Reading(self.origin, dict(self.values), self.deferred, self.old, self.time_zone)


def read(source: Source, registry: Registry, namespace: str | None = None) -> Reading:
    """Read every setting of a source, under a namespace such as ``CELERY`` those that begin with it.

    Raises:
        SettingError: one is unknown or has a wrong value; it names them all.
        MixedNamesError: without a namespace, old and new names stand side by side.
    """
    reading = Reading(source.origin)
    prefix = namespace.rstrip("_") + "_" if namespace else ""
    if prefix:
        written = _with_prefix(source, registry, prefix)
    else:
        _refuse_mixture(source, registry)
        written = {name: registry.known(name) or name for name in source.names}
    problems: list[SettingError] = []
    for name in sorted(written, key=lambda name: _rank(name, written[name], prefix)):
        _read_one(source, registry, reading, name, written[name], problems)
    raise_all(problems)
    reading.old = tuple(sorted(name for name in written if name in NEW_OF and not prefix))
    if "TIME_ZONE" in source.names and isinstance(zone := source.get("TIME_ZONE"), str):
        reading.time_zone = check(registry, "timezone", zone, f"{source.origin} (as TIME_ZONE)")
    return reading


def raise_all(problems: list[SettingError]) -> None:
    """Raise the first of several errors with the others in its message; nothing when there are none."""
    if problems:
        first = problems[0]
        raise SettingError(
            first.name,
            first.reason,
            value=first.value,
            suggestion=first.suggestion,
            source=first.source,
            others=problems[1:],
        )


def check(registry: Registry, name: str, value: Any, origin: str) -> Any:
    """The converted value of a known setting.

    Raises:
        SettingError: it has a wrong value.
    """
    try:
        converted = convert(registry.settings[name], value)
        if name == "timezone":
            _check_zone(converted)
    except Unfit as unfit:
        shown = repr(hide(name, value))
        if len(shown) > _LONGEST_SHOWN:
            shown = f"{shown[:_LONGEST_SHOWN]}…"
        raise SettingError(
            name,
            f"setting {name!r} takes {unfit}, not {shown} of type {type(value).__name__}, as set in {origin}",
            value=shown,
            source=origin,
        ) from None
    return converted


def unknown(registry: Registry, name: str, origin: str) -> SettingError:
    """The error of a name that is no setting."""
    suggestion = registry.suggest(name)
    meant = f"did you mean {suggestion!r}?" if suggestion else "no setting has a similar name."
    return SettingError(
        name,
        f"there is no setting {name!r}, as set in {origin}; {meant} "
        f"A name of your own is let through by conf.allow({name!r})",
        suggestion=suggestion,
        source=origin,
    )


def _read_one(
    source: Source, registry: Registry, reading: Reading, written: str, name: str, problems: list[SettingError]
) -> None:
    if name in registry.settings:
        origin = f"{source.origin}{_called(written, name)}"
        try:
            reading.values[name] = check(registry, name, source.get(written), origin)
        except SettingError as error:
            problems.append(error)
    elif registry.is_allowed(name):
        reading.values[name] = source.get(written)
    elif not source.strict and not (name.islower() and isinstance(source.get(written), _PLAIN)):
        return
    elif source.strict or registry.looks_like_setting(name) or registry.is_of_plugin(name):
        if registry.is_of_plugin(name):
            reading.values[name] = source.get(written)
            reading.deferred += (name,)
        else:
            problems.append(unknown(registry, name, f"{source.origin}{_called(written, name)}"))


def _rank(written: str, name: str, prefix: str) -> int:
    """Where a source has a setting under several names, the one with the highest rank is read last and wins."""
    if written in NEW_OF and written[len(prefix) :].lower() != name:
        return 0
    if prefix:
        return 2 if written.startswith(prefix) else 1
    return 2 if written == name else 1


def _called(written: str, name: str) -> str:
    return "" if written == name else f" (as {written})"


def _with_prefix(source: Source, registry: Registry, prefix: str) -> dict[str, str]:
    written: dict[str, str] = {}
    for name in source.names:
        if name.startswith(prefix):
            bare = name[len(prefix) :].lower()
            if bare not in registry.settings and name in NEW_OF:
                bare = NEW_OF[name]
            written[name] = bare
        elif source.strict and registry.known(name):
            written[name] = registry.known(name)
    return written


def _refuse_mixture(source: Source, registry: Registry) -> None:
    have = set(source.names)
    new = {name for name in have if name in registry.settings}
    old = {name for name in have if name in NEW_OF}
    if not new or not old:
        return
    rename: Mapping[str, str]
    if len(old) > len(new):
        minority, rename, kept = new, OLD_OF, old
    else:
        minority, rename, kept = old, NEW_OF, new
    # A name that stands there in both forms is meant for two versions of the software.
    left: Iterable[str] = sorted(name for name in minority if rename.get(name, name) not in have and name in rename)
    renames = [(name, rename[name]) for name in left]
    if renames:
        raise MixedNamesError(renames, min(kept), source.origin)


def _check_zone(zone: Any) -> None:
    if not isinstance(zone, str):
        return
    try:
        zoneinfo.ZoneInfo(zone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        zones = zoneinfo.available_timezones()
        if not zones:  # no database of time zones on this machine: who uses the zone will say so
            return
        close = difflib.get_close_matches(zone, zones, n=1)
        raise Unfit(f"the IANA name of a time zone{f', such as {close[0]!r}' if close else ''}") from None
