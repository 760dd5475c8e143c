"""What the worker's options become, by workers that run in this process and end when they are ready."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from umbel.app.app import Umbel
from umbel.cli.graph import resolved
from umbel.cli.main import main
from umbel.model import current, signals
from umbel.worker.cpus import cpu_count
from umbel.worker.worker import Worker


@pytest.fixture
def app() -> Iterator[Umbel]:
    previous = current.get_current_app()
    yield Umbel("options", broker=f"memory://{uuid.uuid4().hex}", backend="memory://", worker_redirect_stdouts=False)
    current.set_current_app(previous)


@pytest.fixture
def worked(app: Umbel) -> Iterator[Callable[..., Worker]]:
    """Run a worker with these words; returns it after its end."""
    ready: list[Worker] = []

    def end(sender: Worker, **_: Any) -> None:
        ready.append(sender)
        sender.stop()

    signals.worker_ready.connect(end, weak=False)

    def work(*words: str) -> Worker:
        assert main(["worker", "-P", "solo", *words], app=app) == 0
        return ready[-1]

    yield work
    signals.worker_ready.disconnect(end)


def test_every_option_reaches_the_worker(worked: Callable[..., Worker], tmp_path: Path) -> None:
    log = tmp_path / "w1.log"
    options = worked(
        "-n", "w1@%h", "-l", "debug", "-f", str(log), "-c", "3", "-Q", "high, low", "-X", "low", "-I", "json,ast",
        "--prefetch-multiplier", "7", "--time-limit", "9.5", "--soft-time-limit", "8", "--max-tasks-per-child", "5",
        "--max-memory-per-child", "1000", "-O", "fair", "--without-gossip", "--without-mingle", "--without-heartbeat",
        "-q", "-C", "--discard",
    ).options  # fmt: skip
    assert options.hostname == "w1@%h"
    assert options.loglevel == "DEBUG"
    assert options.logfile == str(log)
    assert options.concurrency == 3
    assert options.pool == "solo"
    assert options.queues == ["high", "low"]
    assert options.exclude_queues == ["low"]
    assert options.include == ["json", "ast"]
    assert options.prefetch_multiplier == 7
    assert (options.time_limit, options.soft_time_limit) == (9.5, 8)
    assert (options.max_tasks_per_child, options.max_memory_per_child) == (5, 1000)
    assert (options.without_gossip, options.without_mingle, options.without_heartbeat) == (True, True, True)
    assert (options.quiet, options.no_color, options.purge) == (True, True, True)
    assert "ready." in log.read_text()


def test_defaults_leave_the_settings_their_say(worked: Callable[..., Worker]) -> None:
    options = worked().options
    assert options.loglevel == "WARNING"
    for name in ("hostname", "concurrency", "queues", "exclude_queues", "include", "prefetch_multiplier", "no_color"):
        assert getattr(options, name) is None
    assert not options.purge
    assert not options.quiet


def test_leases_are_kept_without_heartbeats(worked: Callable[..., Worker]) -> None:
    assert "heartbeat" in resolved(worked("--without-heartbeat"))["consumer"].needs


@pytest.mark.parametrize(("given", "expected"), [("auto", "auto"), ("AUTO", "auto"), ("0", None), ("3", 3)])
def test_concurrency(worked: Callable[..., Worker], given: str, expected: int | str | None) -> None:
    worker = worked("-c", given)
    assert worker.options.concurrency == expected
    assert 1 <= worker.concurrency <= max(3, cpu_count())


@pytest.mark.parametrize(("given", "expected", "slots"), [("7", (7, 0), 1), ("7,3", (7, 3), 3), ("4,4", (4, 4), 4)])
def test_autoscale(worked: Callable[..., Worker], given: str, expected: tuple[int, int], slots: int) -> None:
    worker = worked("--autoscale", given, "-c", "9", "-P", "threads")
    assert (worker.options.autoscale, worker.concurrency) == (expected, slots)


@pytest.mark.parametrize("given", ["x", "3,4", "0", "3,x"])
def test_a_span_that_is_none_is_refused(app: Umbel, given: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["worker", "--autoscale", given], app=app) == 2
    assert "--autoscale" in capsys.readouterr().err


def test_settings_as_words(worked: Callable[..., Worker], app: Umbel) -> None:
    worked("--", "worker.prefetch_multiplier=11", ".concurrency=2")
    assert app.conf.worker_prefetch_multiplier == 11
    assert app.conf.worker_concurrency == 2


def test_the_apps_own_options_reach_the_steps(worked: Callable[..., Worker], app: Umbel) -> None:
    app.user_options["worker"].add(click.Option(["--lane"], default="left"))
    app.user_options["worker"].add(click.Option(["--fast"], is_flag=True))
    app.user_options["preload"].add(click.option("-Z", "--zone"))
    told: list[Any] = []

    def tell(options: dict[str, Any], **_: Any) -> None:
        told.append(options)

    signals.user_preload_options.connect(tell, weak=False)
    try:
        worker = worked("--fast", "-Z", "north")
    finally:
        signals.user_preload_options.disconnect(tell)
    assert worker.options.extra == {"lane": "left", "fast": True, "zone": "north"}
    assert worker.context.fast is True
    assert told[0]["zone"] == "north"
    assert told[0]["pool"] == "solo"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-l", "loud"], "'loud' is no log level; there are DEBUG"),
        (["-c", "many"], "'many' is neither a number nor 'auto'"),
        (["-c", "-1"], "'-1' is neither a number nor 'auto'"),
        (["-Q", "a,,b"], "as in 'high,low'"),
        (["--time-limit", "0"], "--time-limit"),
        (["--max-tasks-per-child", "0"], "--max-tasks-per-child"),
        (["-O", "best"], "'best' is not one of"),
        (["--nonsense"], "--nonsense"),
        (["-n"], "requires an argument"),
        (["-A"], "requires an argument"),
        (["--pool-start-method", "spawn"], "not there yet"),
    ],
)
def test_wrong_values_are_refused(app: Umbel, words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["worker", *words], app=app) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["-B"], ["-s", "x"], ["--scheduler", "x"], ["-E"],
        ["--disable-prefetch"], ["--heartbeat-interval", "2"],
    ],
    ids=lambda words: words[0],
)  # fmt: skip
def test_options_of_parts_that_do_not_exist_are_refused(
    app: Umbel, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["worker", *words], app=app) == 2
    said = capsys.readouterr().err
    assert words[0] in said
    assert "is not there yet in umbel" in said


def test_an_unknown_pool_is_told_with_those_there_are(app: Umbel, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["worker", "-P", "preforkk"], app=app) == 1
    said = capsys.readouterr().err
    assert "no pool named 'preforkk' is installed; did you mean 'prefork'?" in said


def test_a_directory_that_is_not_there_is_told(app: Umbel, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["worker", "--workdir", "/nonexistent"], app=app) == 1
    assert "cannot change to --workdir '/nonexistent': No such file" in capsys.readouterr().err


def test_an_unknown_setting_among_the_words_is_told(app: Umbel, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["worker", "worker.prefetch_multiplyer=2"], app=app) == 1
    assert "prefetch_multiplyer" in capsys.readouterr().err


def test_an_app_that_starts_the_command_line_itself_ends_with_its_exit_code(app: Umbel) -> None:
    with pytest.raises(SystemExit) as ended:
        app.worker_main(["worker", "-P", "preforkk"])
    assert ended.value.code == 1
