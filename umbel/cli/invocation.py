"""What was asked of the command line before the command itself: the app, and settings that stand above its own."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_VALUED = {
    "-A": "app_path",
    "--app": "app_path",
    "-b": "broker",
    "--broker": "broker",
    "--result-backend": "result_backend",
    "--config": "config",
    "--workdir": "workdir",
    "--loader": "loader",
}
_FLAGS = {"-C": "no_color", "--no-color": "no_color", "-q": "quiet", "--quiet": "quiet"}


@dataclass(slots=True)
class Invocation:
    """The global options.

    Attributes:
        app: the app, once it is loaded or when it was given by code.
        app_path: what ``-A`` named.
        broker: URL of the broker, above the app's own.
        result_backend: likewise of the result backend.
        config: name of the config module, for an app that names none.
        workdir: where to change to first.
        loader: accepted for Celery's command lines; there is one loader.
        no_color: print without colours.
        quiet: print no more than was asked for.
        started_in: the directory before that.
        is_program: whether the words are those that this process was started with, so that it can be started again.
    """

    app: Any = None
    app_path: str | None = None
    broker: str | None = None
    result_backend: str | None = None
    config: str | None = None
    workdir: str | None = None
    loader: str | None = None
    no_color: bool = False
    quiet: bool = False
    started_in: str = "."
    is_program: bool = False

    @property
    def names_app(self) -> bool:
        """Whether there is an app to work with."""
        return self.app is not None or self.app_path is not None

    def take(self, words: Sequence[str]) -> list[str]:
        """Take the global options out of a command's words, where Celery's users also write them; returns the others.

        Raises:
            ValueError: an option's value is missing; its argument is the option.
        """
        rest: list[str] = []
        left = iter(words)
        for word in left:
            name, equals, value = word.partition("=")
            if word == "--":
                return [*rest, word, *left]
            if word in _FLAGS:
                setattr(self, _FLAGS[word], True)
            elif word in _VALUED:
                found = next(left, None)
                if found is None:
                    raise ValueError(word)
                setattr(self, _VALUED[word], found)
            elif equals and name.startswith("--") and name in _VALUED:
                setattr(self, _VALUED[name], value)
            elif not word.startswith("--") and word[:2] in _VALUED:
                setattr(self, _VALUED[word[:2]], word[2:])
            else:
                rest.append(word)
        return rest

    def apply(self) -> dict[str, str | None]:
        """Change to the directory and set the environment; returns what the environment had, to be put back."""
        self.started_in = os.getcwd()
        if self.workdir:
            os.chdir(self.workdir)
        given = {
            "UMBEL_BROKER_URL": self.broker,
            "UMBEL_RESULT_BACKEND": self.result_backend,
            "UMBEL_CONFIG_MODULE": self.config,
        }
        before = {name: os.environ.get(name) for name, value in given.items() if value}
        os.environ.update({name: value for name, value in given.items() if value})
        return before


def restore(before: dict[str, str | None]) -> None:
    """Put the environment back as ``Invocation.apply`` found it."""
    for name, value in before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
