"""Steps that an app or an installed distribution adds to the worker."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from umbel import Umbel
from umbel.worker.options import WorkerOptions
from umbel.worker.worker import Worker
from umbel_kernel.errors import OperationalError
from umbel_kernel.step import Context, Step

QUIET: dict[str, Any] = {"pool": "threads", "concurrency": 1, "quiet": True, "install_signals": False}


def _noting(noted: list[str], name: str, **members: Any) -> type[Step]:
    def start(self: Step, context: Context) -> Any:
        noted.append(f"{name} starts")
        return members.get("gives")

    def stop(self: Step, context: Context) -> None:
        noted.append(f"{name} stops")

    def close(self: Step, context: Context) -> None:
        noted.append(f"{name} closes")

    return type(name, (Step,), {"start": start, "stop": stop, "close": close, **members})


def test_steps_start_in_the_order_of_their_needs_and_stop_in_reverse(app: Umbel, running: Any) -> None:
    noted: list[str] = []
    app.steps["worker"].add(_noting(noted, "Uses", requires=("store", "pool")))
    app.steps["worker"].add(_noting(noted, "Store", provides=("store",), gives={"a": 1}))
    worker = running(app)
    assert noted == ["Store starts", "Uses starts"]
    assert worker.context.store == {"a": 1}
    worker.stop()
    worker.blueprint.join(10)
    assert noted[2:] == ["Uses closes", "Store closes", "Uses stops", "Store stops"]


def test_consumer_steps_see_what_the_worker_steps_provide(app: Umbel, running: Any) -> None:
    noted: list[str] = []
    seen: list[Any] = []

    class Look(Step):
        requires = ("connection", "task_consumer", "store")

        def start(self, context: Context) -> None:
            seen.append((context.store, context.worker, context.app, context.task_consumer is not None))

    app.steps["worker"].add(_noting(noted, "Store", provides=("store",), gives="kept"))
    app.steps["consumer"].add(Look)
    worker = running(app)
    assert seen == [("kept", worker, app, True)]


def test_consumer_steps_begin_anew_with_the_connection(app: Umbel, running: Any) -> None:
    noted: list[str] = []
    app.task(name="t")(lambda: "ran")
    app.steps["consumer"].add(_noting(noted, "Watch", requires=("connection",)))
    app.steps["worker"].add(_noting(noted, "Once"))
    worker = running(app)
    worker.consumer_blueprint  # noqa: B018 - the one that runs
    consumer = worker.context.loop.consumer
    consumer.close()
    assert app.send_task("t").get(timeout=10) == "ran"
    assert noted == ["Once starts", "Watch starts", "Watch stops", "Watch starts"]


class Broken(Step):
    """Cannot be started."""

    requires = ("pool",)

    def start(self, context: Context) -> None:
        raise RuntimeError("no licence")


@pytest.mark.parametrize("blueprint", ["worker", "consumer"])
def test_a_step_that_fails_undoes_the_others_and_is_named(app: Umbel, blueprint: str) -> None:
    noted: list[str] = []
    app.steps["worker"].add(_noting(noted, "Early"))
    app.steps[blueprint].add(Broken)
    app.log.already_setup = True
    worker = Worker(app, WorkerOptions(**QUIET))
    with pytest.raises(RuntimeError, match="no licence") as caught:
        worker.start()
    assert caught.value.__notes__ == [f"while the {blueprint} blueprint started its step 'broken'"]
    assert "Early stops" in noted
    assert worker.blueprint.started == []
    assert worker.context.get("pool") is None


def test_a_consumer_step_that_is_not_ready_is_tried_again(app: Umbel, running: Any) -> None:
    tries: list[int] = []

    class Shy(Step):
        requires = ("connection",)

        def start(self, context: Context) -> None:
            tries.append(1)
            if len(tries) < 2:
                raise OperationalError("not yet")

    app.steps["consumer"].add(Shy)
    running(app)
    assert len(tries) == 2


# By the command line

HEAD = """
    from umbel import Umbel
    from umbel_kernel.step import Step

    app = Umbel("mine", broker="sqlite:///{folder}/u.db")
"""


def _worker(folder: Path, body: str, *words: str) -> subprocess.CompletedProcess[str]:
    code = textwrap.dedent(HEAD.format(folder=folder)) + textwrap.dedent(body)
    (folder / "mine.py").write_text(code)
    command = [sys.executable, "-m", "umbel", "-q", "-A", "mine", "worker", "-P", "threads", "-c", "1", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=30, env={**os.environ})


def test_a_circle_is_drawn(tmp_path: Path) -> None:
    body = """
        @app.steps["worker"].add
        class A(Step):
            requires = ("b",)

        @app.steps["worker"].add
        class B(Step):
            requires = ("a",)
    """
    ended = _worker(tmp_path, body)
    assert ended.returncode == 1
    assert "steps need each other in a circle: a -> b -> a" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("blueprint", ["worker", "consumer"])
def test_an_unmet_need_names_both(tmp_path: Path, blueprint: str) -> None:
    body = f"""
        @app.steps["{blueprint}"].add
        class Lonely(Step):
            requires = ("cache",)
    """
    ended = _worker(tmp_path, body)
    assert ended.returncode == 1
    assert "step 'lonely' needs 'cache', which no step provides" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_failing_step_is_named(tmp_path: Path) -> None:
    body = """
        @app.steps["consumer"].add
        class Licence(Step):
            requires = ("connection",)

            def start(self, context):
                raise RuntimeError("it has run out")
    """
    ended = _worker(tmp_path, body)
    assert ended.returncode == 1
    assert "RuntimeError: it has run out" in ended.stderr
    assert "while the consumer blueprint started its step 'licence'" in ended.stderr


def test_an_installed_distribution_adds_steps(tmp_path: Path) -> None:
    info = tmp_path / "umbel_extra-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: umbel-extra\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[umbel]\nextra = umbel_extra\n")
    (tmp_path / "umbel_extra.py").write_text(
        textwrap.dedent(
            """
            from umbel_kernel.hooks import hookimpl
            from umbel_kernel.step import Step

            class Goodbye(Step):
                requires = ("connection",)

                def start(self, context):
                    print("extra step of", context.app.main, flush=True)
                    context.worker.stop()

            @hookimpl
            def umbel_steps(blueprint, app):
                return [Goodbye] if blueprint == "consumer" else None
            """
        )
    )
    ended = _worker(tmp_path, "app.conf.worker_redirect_stdouts = False\n")
    assert (ended.returncode, ended.stdout) == (0, "extra step of mine\n"), ended.stderr
