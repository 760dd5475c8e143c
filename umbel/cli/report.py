"""``umbel report``."""

from __future__ import annotations

import platform
from typing import Any

import click

from umbel.cli.app_command import AppCommand
from umbel.model.version import VERSION
from umbel_kernel import plugins
from umbel_kernel.errors import UmbelError


@click.command(cls=AppCommand, without="bare")
@click.option("--defaults", is_flag=True, help="Show also the settings that have their default.")
@click.pass_context
def report(ctx: click.Context, defaults: bool) -> None:
    """Show versions and settings, for a bug report. Secrets are hidden."""
    invocation = ctx.obj
    app = invocation.app
    click.echo(f"umbel {VERSION}, Python {platform.python_version()} ({platform.python_implementation()})")
    click.echo(platform.platform())
    click.echo("\nPlugins")
    for kind in plugins.KINDS:
        found = [f"{plugin.name} {plugin.version}" for plugin in plugins.installed(kind)]
        click.echo(f"  {kind + ':':<13} {', '.join(found) or 'none'}")
    if invocation.app_path is None and app.main == "default":
        click.echo("\nNo app was named; with -A its settings are shown here.")
        return
    troubles = [trouble for kind in ("brokers", "backends") for trouble in _declare(app, kind)]
    click.echo(f"\nApp {app.main or invocation.app_path}")
    click.echo(f"  broker:       {app.broker_text()}")
    click.echo(f"  results:      {app.backend_text()}")
    click.echo("\nSettings")
    shown = app.conf.humanize(with_defaults=defaults)
    click.echo("\n".join(f"  {line}" for line in shown.splitlines()) or "  all have their defaults")
    for trouble in troubles:
        click.echo(f"\nTrouble: {trouble}")
    unknown = app.conf.undeclared()
    if unknown:
        click.echo("\nSet for a plugin that is not loaded, so hidden and without effect")
        click.echo("\n".join(f"  {name}" for name in unknown))


def _declare(app: Any, kind: str) -> list[str]:
    """Load the plugins that the app uses, so that their settings are known. Returns what went wrong."""
    troubles = []
    connections = app.connections
    backend = connections.backend_url()
    urls = connections.broker_urls(read=True) if kind == "brokers" else [backend] if backend else []
    for url in urls:
        try:
            app.conf.declare(plugins.load(kind, url.scheme).settings, f"{kind.removesuffix('s')} {url.scheme!r}")
        except UmbelError as error:
            troubles.append(str(error))
    return troubles
