"""The names that an app's configuration knows: the catalogue, what loaded plugins declare, and what a user allows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from umbel.config.catalogue.all import CATALOGUE, FRAMEWORK_GROUPS
from umbel.config.conversion import kinds_of
from umbel.config.old_names import NEW_OF
from umbel.model.later import Later
from umbel_kernel.errors import ConfigurationError
from umbel_kernel.plugins import KINDS, installed
from umbel_kernel.setting import Setting

difflib = Later("difflib")
ALLOWED = ("redbeat_", "once", "singleton_", "flower_", "sentry_", "django_celery_beat_", "django_celery_results_")
"""Names, and with a final underscore prefixes, that well-known extensions of Celery read from the configuration."""

_CLOSE = 0.8
_TYPO = 0.88
_TYPO_LENGTH = 3


class Registry:
    """Every known setting by its name. Each app has one, as each may load other plugins.

    Attributes:
        settings: today's name to its setting.
        owners: the name of each declared setting to the plugin that declared it.
    """

    def __init__(self) -> None:
        self.settings: dict[str, Setting] = dict(CATALOGUE)
        self.owners: dict[str, str] = {}
        self._allowed = set(ALLOWED)

    def declare(self, settings: Iterable[Setting], owner: str) -> tuple[str, ...]:
        """Add the settings of a loaded plugin and return their names; the catalogue and earlier plugins come first.

        Raises:
            ConfigurationError: another plugin has declared one of them with another type, or a type does not exist.
        """
        found = tuple(settings)
        for setting in found:
            try:
                kinds_of(setting.type)
            except ValueError as error:
                raise ConfigurationError(f"setting {setting.name!r} of plugin {owner!r}: {error}") from None
            if setting.name in CATALOGUE:
                continue
            other = self.owners.get(setting.name, owner)
            if other != owner and self.settings[setting.name].type != setting.type:
                raise ConfigurationError(
                    f"setting {setting.name!r} is declared by plugin {other!r} as {self.settings[setting.name].type} "
                    f"and by plugin {owner!r} as {setting.type}; they cannot be used together"
                )
        for setting in found:
            self.owners.setdefault(setting.name, owner)
            self.settings.setdefault(setting.name, setting)
        return tuple(setting.name for setting in found)

    def allow(self, names: Iterable[str]) -> None:
        """Let names that are no settings stand in the configuration; one that ends in ``_`` is a prefix."""
        self._allowed.update(name.lower() for name in names)

    def known(self, name: str) -> str:
        """Today's name of a setting given by it or by its old name; empty when it is neither."""
        return name if name in self.settings else NEW_OF.get(name, "")

    def is_allowed(self, name: str) -> bool:
        """Whether the name belongs to an extension or has been allowed."""
        lower = name.lower()
        return lower in self._allowed or any(lower.startswith(one) for one in self._allowed if one.endswith("_"))

    def is_of_plugin(self, name: str) -> bool:
        """Whether an installed plugin, perhaps not loaded yet, may declare this name: it begins with the plugin's."""
        if name.startswith(FRAMEWORK_GROUPS) or self.typo_of(name):
            return False
        return name.startswith(tuple(_prefix(plugin.name) for kind in KINDS for plugin in installed(kind)))

    def suggest(self, name: str) -> str:
        """The setting that was probably meant; empty when none is close."""
        lower = name.lower()
        if lower in self.settings:
            return lower
        pool: Mapping[str, object] = NEW_OF if name.isupper() else self.settings
        close = difflib.get_close_matches(name, pool, n=1, cutoff=_CLOSE) or difflib.get_close_matches(
            lower, self.settings, n=1, cutoff=_CLOSE
        )
        return NEW_OF.get(close[0], close[0]) if close else ""

    def typo_of(self, name: str) -> str:
        """The setting of which this name is so near a miss that it can hardly be anything else; empty when none."""
        # Comparing with every setting would be slow for a module of many names: a typo keeps the first letter.
        near = [one for one in self.settings if one[0] == name[:1] and abs(len(one) - len(name)) <= _TYPO_LENGTH]
        close = difflib.get_close_matches(name, near, n=1, cutoff=_TYPO)
        return close[0] if close else ""

    def looks_like_setting(self, name: str) -> bool:
        """Whether an unknown name, found among other things in a module, must have been meant as a setting."""
        return name.islower() and (name.startswith(FRAMEWORK_GROUPS) or bool(self.typo_of(name)))

    def find(self, name: str, namespace: str = "") -> tuple[str | None, str, Setting]:
        """A setting by its whole name or by what follows its group: the group, the rest of the name, and the setting.

        Args:
            name: such as ``worker_concurrency`` or ``concurrency``.
            namespace: the group to look in first, such as ``worker``.

        Raises:
            KeyError: there is none.
        """
        lower, group = name.lower(), namespace.lower()
        if f"{group}_{lower}" in self.settings:
            return group, lower, self.settings[f"{group}_{lower}"]
        if lower in self.settings:
            return None, lower, self.settings[lower]
        for full, setting in self.settings.items():
            group, _, rest = full.partition("_")
            if rest == lower:
                return group, rest, setting
        raise KeyError(f"no setting is called {name!r}, with or without a group before it")


def _prefix(plugin: str) -> str:
    return plugin.partition("+")[0].replace("-", "_") + "_"
