"""``umbel worker``."""

from __future__ import annotations

import os
from contextlib import nullcontext
from typing import Any

import click

from umbel.cli import background
from umbel.cli import pidfile as pidfiles
from umbel.cli.app_command import AppCommand
from umbel.cli.identity import become
from umbel.cli.invocation import Invocation
from umbel.cli.option_types import Concurrency, LogLevel, NameList, OctalNumber, Span
from umbel.cli.planned import WORKER, planned
from umbel.cli.privileges import check_privileges
from umbel.model import node
from umbel.worker.options import WorkerOptions
from umbel.worker.shutdown import Ending, leave
from umbel.worker.worker import Worker
from umbel_kernel import plugins

SECONDS = click.FloatRange(min=0, min_open=True)
COUNT = click.IntRange(min=1)


def _known_pool(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """The pool's name, checked while the user looks."""
    if value is not None:
        plugins.load("pools", value)
    return value


@click.command(cls=AppCommand, kind="worker", context_settings={"allow_extra_args": True})
@click.option(
    "-n",
    "--hostname",
    metavar="NAME",
    help="The worker's name, as in 'w1@%h'. %h is the host, %n its name, %d its domain.",
)
@click.option("-l", "--loglevel", type=LogLevel(), default="WARNING", show_default=True, help="What to log, and above.")
@click.option("-f", "--logfile", metavar="FILE", help="Log there instead of to the terminal.")
@click.option("--pidfile", metavar="FILE", help="Keep the process id there; a second worker with it does not start.")
@click.option(
    "-c",
    "--concurrency",
    type=Concurrency(),
    metavar="N|auto",
    help="Tasks that run at once. Default: one for each processor. 'auto' heeds the limits of a container.",
)
@click.option(
    "--autoscale", type=Span(), metavar="MAX[,MIN]", help="Instead of -c: as many as there is work for, within limits."
)
@click.option("-P", "--pool", metavar="NAME", callback=_known_pool, help="What runs tasks; `umbel plugins` lists them.")
@click.option("-Q", "--queues", type=NameList(), help="Read these queues only.")
@click.option("-X", "--exclude-queues", type=NameList(), help="Do not read these of the app's queues.")
@click.option("-I", "--include", type=NameList(), help="Import these modules too.")
@click.option("--prefetch-multiplier", type=click.IntRange(min=0), metavar="N", help="Tasks held for each slot.")
@click.option("--time-limit", type=SECONDS, metavar="SECONDS", help="Kill a task that runs longer.")
@click.option(
    "--soft-time-limit", type=SECONDS, metavar="SECONDS", help="Raise SoftTimeLimitExceeded in a task that runs longer."
)
@click.option("--max-tasks-per-child", type=COUNT, metavar="N", help="Replace a pool process after so many tasks.")
@click.option("--max-memory-per-child", type=COUNT, metavar="KIB", help="Replace a pool process that has grown larger.")
@click.option("--pool-start-method", type=click.Choice(["fork", "spawn"]), hidden=True)
@click.option("--purge", "--discard", is_flag=True, help="Drop all messages that wait in its queues first.")
@click.option(
    "-O",
    "--optimization",
    type=click.Choice(["default", "fair"]),
    default="default",
    help="Accepted; tasks always go to a free slot.",
)
@click.option("-S", "--statedb", metavar="FILE", help="Keep there what was revoked; %n stands for its name.")
@click.option("--without-gossip", is_flag=True, help="Take no part in gossip.")
@click.option("--without-mingle", is_flag=True, help="Ask no other workers at the start.")
@click.option("--without-heartbeat", is_flag=True, help="Do not announce that this worker lives.")
@click.option("-D", "--detach", is_flag=True, help="Go to the background.")
@click.option("--uid", metavar="USER", help="Run as this user, when started as root.")
@click.option("--gid", metavar="GROUP", help="Run in this group, when started as root; by default the user's own.")
@click.option("--umask", type=OctalNumber(), help="Which permissions new files do not get, as in 027.")
@click.option("--executable", metavar="FILE", help="The Python for --detach, if another.")
@click.pass_context
def worker(
    ctx: click.Context,
    /,
    concurrency: str | int | None,
    pidfile: str | None,
    pool_start_method: str | None,
    optimization: str,
    detach: bool,
    uid: str | None,
    gid: str | None,
    umask: int | None,
    executable: str | None,
    **given: Any,
) -> int:
    """Start a worker that runs an app's tasks.

    It ends in good order on Ctrl-C or SIGTERM, after the tasks that run; at once on a second Ctrl-C or SIGQUIT.
    Settings can be given as words after the options, as in `worker.prefetch_multiplier=10`.

    \b
    umbel -A proj worker -l INFO
    umbel -A proj worker -l INFO -Q high,low -c 4
    umbel -A proj worker -P threads -c 20 -n io@%h
    """
    if pool_start_method == "spawn":
        raise click.UsageError("--pool-start-method spawn is not there yet in umbel: processes are forked.", ctx)
    invocation = ctx.ensure_object(Invocation)
    app = invocation.app
    name = node.worker_name(given["hostname"])
    if pidfile:
        pidfile = node.expand(pidfile, name, index=0)
    if umask is not None:
        os.umask(umask)
    become(uid, gid)
    if detach and not background.is_detached():
        if not invocation.is_program:
            raise click.UsageError("--detach is for a program of its own, and code of yours has called this one.", ctx)
        if pidfile:
            pidfiles.check(pidfile)
        logfile = given["logfile"]
        printed = node.expand(logfile, name, index=0) if logfile else None
        background.detach(printed, executable, invocation.started_in)
        return 0
    if ctx.args:
        app.config_from_cmdline(ctx.args, namespace="worker")
    options = WorkerOptions(
        concurrency=concurrency or None,
        no_color=invocation.no_color or None,
        quiet=invocation.quiet,
        extra=ctx.meta.get("umbel.extra", {}),
        **given,
    )
    warning = check_privileges(app.conf.accept_content)
    if warning:
        click.echo(f"Warning: {warning}", err=True)
    made = Worker(app, options)
    with pidfiles.pidfile(pidfile) if pidfile else nullcontext():
        code = made.start()
    if made.shutdown.restarts and not code and invocation.is_program:
        background.start_anew(invocation.started_in)
    if made.shutdown.ending is Ending.COLD and invocation.is_program:
        leave(code)
    return code


worker.params.extend(planned(WORKER))
