"""The configuration of one app, in layers, read when it is first needed."""

from __future__ import annotations

import copy
import os
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from typing import Any

from umbel.config import command_line
from umbel.config.computed import COMPUTED
from umbel.config.environment import CONFIG_MODULE, variable
from umbel.config.errors import SettingError, SourceError
from umbel.config.layers import Layers, default_of
from umbel.config.old_names import NEW_OF
from umbel.config.reading import Reading, check, raise_all, read, unknown
from umbel.config.registry import Registry
from umbel.config.report import censor, lines
from umbel.config.source import open_source
from umbel.model.forking import renewed_in_child
from umbel_kernel.errors import ConfigurationError
from umbel_kernel.setting import Setting

Defaults = Mapping[str, Any] | Callable[[], Mapping[str, Any]]

_ASSIGNED = "an assignment to conf"
_UPDATED = "conf.update()"
_CONSTRUCTED = "the arguments of the app"


class Settings(MutableMapping[str, Any]):
    """An app's settings: ``conf.timezone``, ``conf["timezone"]``, ``conf.update(timezone="UTC")``.

    From the strongest layer to the weakest: the environment variables of ``umbel.config.environment``; changes made
    here; what ``add_defaults`` added, the last first; the source; what ``setdefault`` set; the defaults. As in Celery,
    ``add_defaults`` is stronger than the source.

    Nothing is read until a value is asked for. Every value is checked against the type of its setting, and converted
    to it, when the source is read and when it is assigned. A duration may be a ``timedelta`` and is kept as seconds.

    Attributes:
        before_resolve: called with the settings once, before the source is first read; may change settings, not read.
        on_resolve: called with the settings once, after they have first been resolved.
    """

    before_resolve: list[Callable[[Settings], object]]
    on_resolve: list[Callable[[Settings], object]]

    def __init__(
        self,
        changes: Mapping[str, Any] | None = None,
        *,
        namespace: str | None = None,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        """Begin with explicit changes, under today's or old names.

        Raises:
            SettingError: one of them is unknown or wrong.
        """
        self._registry = Registry()
        self._namespace = namespace
        self._environ = environ
        self._lock = renewed_in_child(self, "_lock", threading.RLock)
        self._what: Any = None
        self._silent = False
        self._layers = Layers.of(self._registry.settings.values())
        self._deferred: dict[str, str] = {}  # each name to where it was set
        self._pending: list[Defaults] = []
        self._values: dict[str, Any] = {}
        self._resolved = self._resolving = self._announced = False
        self.before_resolve = []
        self.on_resolve = []
        if changes:
            self._layers.changes.update(self._check_all(changes, _CONSTRUCTED))

    # Where it comes from

    def set_source(self, what: Any, *, silent: bool = False, force: bool = False, namespace: str | None = None) -> None:
        """Say what to read the configuration from; it is read when first needed.

        After the configuration has been resolved it is read at once, and changes made since then are dropped.

        Args:
            what: a mapping, module, class or object, or the name of one.
            silent: a source that cannot be imported counts as empty.
            force: read it now.
            namespace: only names that begin with it and an underscore count, as ``CELERY`` in ``CELERY_BROKER_URL``.

        Raises:
            SourceError: it cannot be imported, when it is read now.
            SettingError: something in it is wrong, when it is read now.
        """
        with self._lock:
            self._what, self._silent = what, silent
            self._namespace = namespace or self._namespace
            again = self._resolved
            if again:
                self._resolved = False
                self._layers.changes = dict(self._layers.early)
            if force or again:
                self.resolve()

    def set_envvar(self, name: str, *, silent: bool = False, force: bool = False) -> bool:
        """Take the source that an environment variable names, and say whether there was one.

        Raises:
            ConfigurationError: the variable is not set, and ``silent`` is false.
        """
        what = self._environ.get(name)
        if not what:
            if silent:
                return False
            raise ConfigurationError(
                f"the environment variable {name!r} is not set: it should name the config module, "
                f"as in {name}='proj.celeryconfig'"
            )
        self.set_source(what, silent=silent, force=force)
        return True

    def set_cmdline(self, argv: Iterable[str], namespace: str | None = None) -> None:
        """Change settings by words such as ``worker.prefetch_multiplier=3``; ``.concurrency=4`` is of the namespace.

        Raises:
            SettingError: a word is malformed, its setting unknown, or its value wrong.
        """
        self._change(command_line.parse(argv, namespace), command_line.ORIGIN)

    def add_defaults(self, defaults: Defaults) -> None:
        """Add a layer of values above the source; a function is called when the configuration is resolved.

        Raises:
            SettingError: one is unknown or wrong, when the configuration has been resolved or a mapping is given.
        """
        with self._lock:
            if not callable(defaults):
                self._pending.append(self._check_all(defaults, "conf.add_defaults()"))
            else:
                self._pending.append(defaults)
            if self._resolved:
                self._take_pending()
                self._flatten()

    def declare(self, settings: Iterable[Setting], owner: str) -> None:
        """Add the settings of a plugin that has been loaded, and check what was set for them before.

        A setting that the catalogue has stays as the catalogue has it.

        Raises:
            ConfigurationError: another plugin has declared one of them with another type.
            SettingError: a value that was set before is wrong.
        """
        with self._lock:
            before = dict(self._registry.settings)
            problems: list[SettingError] = []
            for name in self._registry.declare(settings, owner):
                setting = self._registry.settings[name]
                if before.get(name) == setting:
                    continue
                self._layers.defaults[name] = default_of(setting)
                origin = self._deferred.pop(name, "the configuration")
                problems += self._layers.check_again(self._registry, name, origin)
            self._flatten()
            raise_all(problems)

    def allow(self, *names: str) -> None:
        """Let names that are no settings stand in the configuration; one that ends in ``_`` is a prefix."""
        self._registry.allow(names)

    def resolve(self) -> Settings:
        """Read the source and check every value, unless that has been done.

        Raises:
            SourceError: the source cannot be imported, and was not given as silent.
            SettingError: a setting is unknown or wrong.
            ConfigurationError: the source itself asks for the configuration while it is being read.
        """
        with self._lock:
            if self._resolved:
                return self
            if self._resolving:
                raise ConfigurationError(
                    "the configuration is asked for while it is being read: a config module, a default or a handler "
                    "of on_configure must not use app.conf's values; set them there, and read them later"
                )
            self._resolving = True
            try:
                if not self._announced:
                    for before in self.before_resolve:
                        before(self)
                self._layers.reading = self._read()
                self._deferred.update(dict.fromkeys(self._layers.reading.deferred, self._layers.reading.origin))
                self._take_pending()
                self._layers.early = dict(self._layers.changes)
                self._flatten()
                self._resolved = True
            finally:
                self._resolving = False
            first, self._announced = not self._announced, True
        if first:
            for after in self.on_resolve:
                after(self)
        return self

    finalize = resolve

    # Reading

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        try:
            return self[name]
        except KeyError as error:
            raise AttributeError(error.args[0]) from None

    def __getitem__(self, name: str) -> Any:
        if not self._resolved:
            self.resolve()
        compute = COMPUTED.get(name)
        if compute is not None:
            return compute(self._values, self._environ)
        try:
            return self._values[name]
        except KeyError:
            pass
        other = self._registry.known(name) or self._without_namespace(name)
        if other and other != name:
            return self[other]
        suggestion = self._registry.suggest(name)
        meant = f"; did you mean {suggestion!r}?" if suggestion else ""
        raise KeyError(f"there is no setting {name!r}{meant}")

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and (bool(self._registry.known(name)) or name in self._all_values())

    def __iter__(self) -> Iterator[str]:
        return iter(self._all_values())

    def __len__(self) -> int:
        return len(self._all_values())

    def __repr__(self) -> str:
        if not self._resolved:
            return "<Settings: not read yet>"
        return f"<Settings: {len(self.without_defaults())} set, {len(self._values)} in all>"

    def first(self, *names: str) -> Any:
        """The first of several settings that is not None; None when all are, or are unknown."""
        return next((value for name in names if (value := self.get(name)) is not None), None)

    @property
    def changes(self) -> dict[str, Any]:
        """A copy of what was changed explicitly, which a child process needs besides the source."""
        return dict(self._layers.changes)

    @property
    def namespace(self) -> str | None:
        """What names in the source begin with."""
        return self._namespace

    @property
    def registry(self) -> Registry:
        """Every known setting, for reports and documentation."""
        return self._registry

    def without_defaults(self) -> dict[str, Any]:
        """What was set, whichever way, without the defaults."""
        self.resolve()
        return self._layers.together(with_defaults=False)

    def value_set_for(self, name: str) -> bool:
        """Whether a setting was set, whichever way."""
        return (self._registry.known(name) or name) in self.without_defaults()

    def undeclared(self) -> tuple[str, ...]:
        """Names that were set for a plugin that has not been loaded, or does not know them."""
        self.resolve()
        return tuple(sorted(name for name in self._deferred if name in self._values))

    def find_option(self, name: str, namespace: str = "") -> tuple[str | None, str, Setting]:
        """A setting by its whole name or by its end, as ``Registry.find`` does."""
        return self._registry.find(name, namespace)

    def find_value_for_key(self, name: str, namespace: str = "celery") -> Any:
        """The value of a setting by the last part of its name.

        Raises:
            KeyError: there is none.
        """
        return self[self.find_option(name, namespace)[2].name]

    def get_by_parts(self, *parts: str | None) -> Any:
        """The value of the setting whose name is these parts joined by underscores."""
        return self["_".join(part for part in parts if part)]

    def table(self, with_defaults: bool = False, censored: bool = True) -> dict[str, Any]:
        """The settings by name in order, for people: secrets are hidden unless ``censored`` is false."""
        shown = dict(self._all_values()) if with_defaults else self.without_defaults()
        for name in COMPUTED:
            if (value := self[name]) is not None and (name in shown or variable(self._environ, name)):
                shown[name] = value
        return censor(shown, self._deferred) if censored else {name: shown[name] for name in sorted(shown)}

    def humanize(self, with_defaults: bool = False, censored: bool = True) -> str:
        """The settings for people, one a line."""
        return lines(self.table(with_defaults, censored), censored)

    def maybe_warn_deprecated_settings(self) -> bool:
        """Warn of each old name that the source uses, and say whether there was one."""
        self.resolve()
        for name in self._layers.reading.old:
            warnings.warn(
                f"{self._layers.reading.origin} uses the old name {name!r} of the setting {NEW_OF[name]!r}",
                DeprecationWarning,
                stacklevel=2,
            )
        return bool(self._layers.reading.old)

    # Changing

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_") or name in ("before_resolve", "on_resolve"):
            object.__setattr__(self, name, value)
        elif hasattr(type(self), name):
            raise AttributeError(f"{name!r} is part of the configuration object, not a setting")
        else:
            self._change({name: value}, _ASSIGNED)

    def __setitem__(self, name: str, value: Any) -> None:
        self._change({name: value}, _ASSIGNED)

    def __delattr__(self, name: str) -> None:
        del self[name]

    def __delitem__(self, name: str) -> None:
        with self._lock:
            try:
                del self._layers.changes[self._registry.known(name) or name]
            except KeyError:
                raise KeyError(f"{name!r} was not changed, so there is nothing to take back") from None
            self._flatten()

    def update(self, *args: Any, **changes: Any) -> None:
        """Change several settings, all of them or, when one is wrong, none.

        Raises:
            SettingError: one is unknown or wrong; the message names them all.
        """
        self._change(dict(*args, **changes), _UPDATED)

    def setdefault(self, name: str, default: Any = None) -> Any:
        """Set a setting that neither a change nor the source sets, without reading the source, and return its value.

        Before the configuration has been resolved it returns what is known then.
        """
        with self._lock:
            (known, value), *_ = self._check_all({name: default}, "conf.setdefault()").items()
            self._layers.fallbacks.setdefault(known, value)
            self._flatten()
            return self._values[known]

    def clear(self) -> None:
        """Take all changes back; the source and the defaults stay."""
        with self._lock:
            self._layers.changes.clear()
            self._flatten()

    def copy(self) -> Settings:
        """A configuration with the same values that can be changed on its own."""
        self.resolve()
        with self._lock:
            twin = Settings(namespace=self._namespace, environ=self._environ)
            twin._registry = copy.deepcopy(self._registry)
            twin._what, twin._silent = self._what, self._silent
            twin._layers = self._layers.copy()
            twin._deferred = dict(self._deferred)
            twin._flatten()
            twin._resolved = twin._announced = True
        return twin

    __copy__ = copy

    # Within

    def _read(self) -> Reading:
        what, silent = self._what, self._silent
        if what is None:
            what = variable(self._environ, CONFIG_MODULE) or {}
        try:
            source = open_source(what)
        except SourceError:
            if not silent:
                raise
            source = open_source({})
        return read(source, self._registry, self._namespace)

    def _take_pending(self) -> None:
        while self._pending:
            given = self._pending[0]
            layer = self._check_all(given(), "conf.add_defaults()") if callable(given) else dict(given)
            self._layers.added.insert(0, layer)
            del self._pending[0]

    def _change(self, changes: Mapping[str, Any], origin: str) -> None:
        with self._lock:
            self._layers.changes.update(self._check_all(changes, origin))
            self._flatten()

    def _check_all(self, given: Mapping[str, Any], origin: str) -> dict[str, Any]:
        checked: dict[str, Any] = {}
        problems: list[SettingError] = []
        for written, value in given.items():
            name = self._registry.known(written) or self._without_namespace(written) or written
            if name in self._registry.settings:
                try:
                    checked[name] = check(self._registry, name, value, origin)
                except SettingError as error:
                    problems.append(error)
            elif self._registry.is_allowed(name):
                checked[name] = value
            elif self._registry.is_of_plugin(name):
                checked[name] = value
                self._deferred[name] = origin
            else:
                problems.append(unknown(self._registry, written, origin))
        raise_all(problems)
        return checked

    def _without_namespace(self, name: str) -> str:
        if not self._namespace:
            return ""
        bare = name.removeprefix(self._namespace.rstrip("_") + "_")
        return bare.lower() if bare != name else ""

    def _all_values(self) -> dict[str, Any]:
        self.resolve()
        return self._values

    def _flatten(self) -> None:
        """Lay the layers over one another, so that reading a setting is one look-up."""
        self._values = self._layers.together()
