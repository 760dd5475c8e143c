"""A command that works with an app."""

from __future__ import annotations

import os
import sys
import traceback
from typing import Any

import click

from umbel.app.app import Umbel
from umbel.app.loading import add_working_directory, find_app
from umbel.cli.invocation import Invocation, restore
from umbel.model import signals
from umbel_kernel.errors import ConfigurationError, UmbelError

NO_APP = """No app was named: there is neither -A nor UMBEL_APP or CELERY_APP in the environment.
Name the module that has your app, as in

    umbel -A proj {command}              for proj.py or proj/celery.py with  app = Umbel("proj", ...)
    umbel -A proj.tasks:app {command}    for an app of any other name

No project yet? `umbel demo` needs none."""

_LOADED = "umbel.loaded"


class AppCommand(click.Command):
    """A command that takes the global options also after its name, and the options that the app's user added.

    Args:
        kind: which of the app's ``user_options`` it takes, besides ``preload``.
        without: what to do without an app: ``refuse``; ``broker`` for a bare app when a broker is named; ``bare``
            for a bare app.
    """

    def __init__(self, *args: Any, kind: str = "", without: str = "refuse", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._kind = kind
        self._without = without

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take the global options out, then read the command's own."""
        invocation = ctx.ensure_object(Invocation)
        try:
            args = invocation.take(args)
        except ValueError as error:
            raise click.UsageError(f"Option '{error}' requires an argument.", ctx) from None
        if invocation.no_color:
            ctx.color = False
        if invocation.names_app:
            load_app(ctx)
        return super().parse_args(ctx, args)

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """The command's options and those of the app's user."""
        own = super().get_params(ctx)
        added = self._added(ctx)
        return [*own[:-1], *added, *own[-1:]] if added else own

    def _added(self, ctx: click.Context) -> list[click.Parameter]:
        if not ctx.meta.get(_LOADED):
            return []
        options = ctx.ensure_object(Invocation).app.user_options
        given = [*options.get("preload", ()), *(options.get(self._kind, ()) if self._kind else ())]
        found = ctx.meta.setdefault(f"umbel.options.{self.name}", _parameters(given) if given else [])
        return list(found)

    def invoke(self, ctx: click.Context) -> Any:
        """Load the app, tell the receivers of ``user_preload_options``, and run the command."""
        app = self._app(ctx)
        own = {parameter.name for parameter in self.params}
        extra = {name: ctx.params.pop(name) for name in list(ctx.params) if name not in own}
        ctx.meta["umbel.extra"] = extra
        signals.user_preload_options.send(sender=self, app=app, options={**ctx.params, **extra})
        return super().invoke(ctx)

    def _app(self, ctx: click.Context) -> Any:
        invocation = ctx.ensure_object(Invocation)
        if invocation.names_app:
            return load_app(ctx)
        named = invocation.config or (self._without == "broker" and (invocation.broker or _environment_broker()))
        if self._without == "bare" or named:
            _enter(ctx, invocation)
            add_working_directory()
            invocation.app = Umbel("default")
            ctx.meta[_LOADED] = True
            return invocation.app
        raise click.UsageError(NO_APP.format(command=self.name), ctx)


def _environment_broker() -> str:
    return os.environ.get("UMBEL_BROKER_URL") or os.environ.get("CELERY_BROKER_URL") or ""


def _enter(ctx: click.Context, invocation: Invocation) -> None:
    try:
        before = invocation.apply()
    except OSError as error:
        raise ConfigurationError(f"cannot change to --workdir {invocation.workdir!r}: {error.strerror}") from error
    ctx.find_root().call_on_close(lambda: restore(before))


def load_app(ctx: click.Context) -> Any:
    """The app that the command line names, imported the first time.

    Raises:
        ConfigurationError: there is none; says what was tried.
        click.ClickException: its module raised an error.
    """
    invocation = ctx.ensure_object(Invocation)
    if ctx.meta.get(_LOADED):
        return invocation.app
    _enter(ctx, invocation)
    path = invocation.app_path
    if path is not None:
        add_working_directory()
        try:
            invocation.app = find_app(path, lambda found: isinstance(found, Umbel))
        except UmbelError as error:
            if _celerys(path):
                error.add_note("there is an app of Celery; make it umbel's with: from umbel import Umbel as Celery")
            raise
        except Exception as error:
            raise _broken(path, error) from error
    ctx.meta[_LOADED] = True
    return invocation.app


def _celerys(path: str) -> bool:
    """Whether the module that was named has an app of Celery instead of umbel."""
    module = sys.modules.get(path.partition(":")[0])
    return any(type(found).__module__.startswith("celery.app") for found in vars(module).values()) if module else False


def _broken(path: str, error: Exception) -> click.ClickException:
    """What to tell the user of an app whose module raises an error: where in the user's own files it was."""
    frames = traceback.extract_tb(error.__traceback__)
    inner = [frame for frame in frames if "importlib" not in frame.filename and frame.filename != __file__]
    shown = traceback.format_list(inner[1:] or inner)
    text = "".join([*shown, *traceback.format_exception_only(error)]).rstrip()
    return click.ClickException(f"the module of the app {path!r} cannot be imported:\n{text}")


def _parameters(given: list[Any]) -> list[click.Parameter]:
    """The options that an app's user added: click options, or functions that decorate a command with some."""
    found: list[click.Parameter] = []
    for option in given:
        if isinstance(option, click.Parameter):
            found.append(option)
            continue
        if not callable(option):
            raise ConfigurationError(f"app.user_options holds {option!r:.80}; add click.Option objects")
        holder = click.Command("options")
        option(holder)
        found += holder.params
    # Celery's users add them to a set, which has no order.
    return sorted(found, key=lambda option: option.name or "")
