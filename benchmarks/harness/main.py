"""The command line of run.py: reads what is wanted, checks that it can be had, runs it and writes it down."""

from __future__ import annotations

import argparse
import json
import shlex
import signal
import sys
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

import pika.exceptions
import redis

from harness import chart, plan, readme, report, table
from harness.bench import Bench
from harness.choice import some_of
from harness.failure import Failure
from harness.mark import SLOTS
from harness.settings import BROKERS, CONTENDERS, FOLDER, MEASURES, Settings
from harness.stock import RedisStock, check_amqp


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="benchmarks/run.py", description="Measure umbel beside its peers.")
    plain = Settings()
    made.add_argument("--only", type=some_of(MEASURES), default=MEASURES, metavar="WHAT,…", help=", ".join(MEASURES))
    made.add_argument(
        "--contenders", type=some_of(CONTENDERS), default=CONTENDERS, metavar="NAME,…", help=", ".join(CONTENDERS)
    )
    made.add_argument("--brokers", type=some_of(BROKERS), default=BROKERS, metavar="NAME,…", help=", ".join(BROKERS))
    made.add_argument(
        "--setups", default="", metavar="LABEL,…", help='only these worker set-ups, such as "solo,2 x solo"'
    )
    made.add_argument(
        "--rounds", type=int, default=None, help=f"times that all is measured ({plain.rounds}); medians are reported"
    )
    made.add_argument("--tasks", type=int, default=None, help=f"tasks drained and enqueued ({plain.tasks:,})")
    made.add_argument("--calls", type=int, default=None, help=f"sequential round trips ({plain.calls})")
    made.add_argument("--quick", action="store_true", help="2,000 tasks, 50 calls, one round: does it all run?")
    made.add_argument("--redis", default=plain.redis, metavar="URL", help="a database that is emptied (%(default)s)")
    made.add_argument("--results", default=plain.results, metavar="URL", help="another, for results (%(default)s)")
    made.add_argument(
        "--amqp", default=plain.amqp, metavar="URL", help="an AMQP server; queues have names of their own"
    )
    made.add_argument("--force", action="store_true", help="empty the Redis databases though they hold something")
    made.add_argument(
        "--save", type=Path, metavar="FILE", help="write the results there as well, with charts beside it"
    )
    made.add_argument("--write-readme", action="store_true", help="put the tables into README.md")
    made.add_argument("--show", type=Path, metavar="FILE", help="measure nothing: tables and charts of saved results")
    return made


def _settings(options: argparse.Namespace) -> Settings:
    plain = Settings()
    if options.quick:
        plain = replace(plain, rounds=1, tasks=2_000, calls=50, idle=1.0, chord=100, group=500, chain=20, naps=2_000)
    settings = replace(
        plain,
        only=options.only,
        contenders=options.contenders,
        brokers=options.brokers,
        setups=tuple(label.strip() for label in options.setups.split(",") if label.strip()),
        rounds=options.rounds or plain.rounds,
        tasks=options.tasks or plain.tasks,
        calls=options.calls or plain.calls,
        redis=options.redis,
        results=options.results,
        amqp=options.amqp,
        force=options.force,
    )
    if not 20 <= settings.tasks <= SLOTS:
        raise Failure(f"--tasks must be between 20 and {SLOTS:,}, not {settings.tasks:,}")
    return settings


def _reachable(settings: Settings) -> tuple[str, ...]:
    """The brokers that answer. Says which do not, and goes on without them."""
    found = []
    for broker in settings.brokers:
        try:
            if broker == "redis":
                RedisStock(settings).claim(settings.force)
            elif broker == "amqp":
                check_amqp(settings.amqp)
        except (redis.RedisError, pika.exceptions.AMQPError, OSError) as error:
            print(f"{broker} is left out, it does not answer: {error or type(error).__name__}", file=sys.stderr)
            continue
        found.append(broker)
    if not found:
        raise Failure("no broker answers: start one, or name another with --redis or --amqp")
    return tuple(found)


def _contenders(settings: Settings) -> list[dict[str, Any]]:
    """What each contender says of itself; one that cannot be imported is reported and left out."""
    found = []
    for name in settings.contenders:
        with Bench(settings, name, "redis", "describe") as bench:
            try:
                found.append(bench.client("describe"))
            except Failure as failure:
                print(f"{name} is left out:\n{failure}", file=sys.stderr)
    return found


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main(arguments: list[str]) -> int:
    options = parser().parse_args(arguments)
    try:
        if options.show:
            results = json.loads(options.show.read_text())
            finish(results, options)
            return 0
        return measure(_settings(options), options, arguments)
    except Failure as failure:
        print(failure, file=sys.stderr)
        return 2


def _in_redis(said: dict[str, Any], settings: Settings) -> bool:
    """Whether a contender keeps results in Redis beside one of the brokers."""
    brokers = {*said["results_in_redis"], *(said["canvases"] if "canvas" in settings.only else ())}
    return bool(brokers & set(settings.brokers))


def measure(settings: Settings, options: argparse.Namespace, arguments: list[str]) -> int:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    settings = replace(settings, brokers=_reachable(settings))
    contenders = _contenders(settings)
    redis_claimed = "redis" in settings.brokers
    if not redis_claimed and any(_in_redis(said, settings) for said in contenders):
        try:
            RedisStock(settings).claim(settings.force)
            redis_claimed = True
        except redis.RedisError as error:
            contenders = [said for said in contenders if not _in_redis(said, settings)]
            print(f"those who keep results in Redis are left out, it does not answer: {error}", file=sys.stderr)
    cells = plan.cells(settings, contenders)
    if not cells:
        if redis_claimed:
            RedisStock(settings).release()
        raise Failure("nothing to measure: none of these contenders runs there")
    interrupted = False
    try:
        plan.run(settings, cells, lambda line: print(line, flush=True))
    except KeyboardInterrupt:
        interrupted = True
        print("\ninterrupted: the workers were ended; what was measured so far follows", file=sys.stderr)
    finally:
        if redis_claimed:
            RedisStock(settings).release()
    command = shlex.join(["uv", "run", "benchmarks/run.py", *arguments])
    results = report.results(settings, contenders, cells, command)
    settings.out.mkdir(exist_ok=True)
    written = settings.out / f"{results['date'].replace(':', '')}.json"
    written.write_text(json.dumps(results, indent=1) + "\n")
    finish(results, options, beside=written)
    if interrupted:
        return 130
    return 1 if any(cell.failure for cell in cells) else 0


def finish(results: dict[str, Any], options: argparse.Namespace, beside: Path | None = None) -> None:
    """Tables on the terminal; results, charts and README where they were asked for."""
    table.show(results)
    for path in filter(None, (beside, options.save)):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(results, indent=1) + "\n")
        for picture in chart.draw(results, path.with_suffix("")):
            print(f"chart: {picture}")
        print(f"results: {path}")
    if options.write_readme:
        readme.write(results, FOLDER / "README.md")
        print(f"tables: {FOLDER / 'README.md'}")
