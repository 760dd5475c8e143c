"""The commands that talk to a broker or a backend for a moment."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Run, Start, read_until
from umbel_kernel import plugins

STEPS = """
from umbel import Step, Umbel


class Lamp(Step):
    provides = ("light",)
    requires = ("pool",)


class Reader(Step):
    requires = ("task_consumer", "light")


app = Umbel("stepped", broker="memory://", backend="memory://")
app.steps["worker"].add(Lamp)
app.steps["consumer"].add(Reader)
"""


@pytest.fixture
def worker(project: Path, start: Start) -> None:
    read_until(start("-A", "proj", "worker", "-l", "INFO", "-c", "1"), "ready.")


def test_call_and_result(worker: None, run: Run) -> None:
    called = run("-A", "proj", "call", "proj.greet", "-k", '{"name": "you"}', "--wait", "20")
    task_id, value = called.stdout.splitlines()
    assert (called.returncode, value) == (0, "hello you")
    shown = run("result", task_id, "-A", "proj")
    assert (shown.returncode, shown.stdout) == (0, "hello you\n")


def test_a_task_that_fails(worker: None, run: Run) -> None:
    called = run("-A", "proj", "call", "proj.add", "-a", '[1, "x"]', "--wait", "20")
    task_id = called.stdout.strip()
    assert called.returncode == 1
    assert f"{task_id} is FAILURE: TypeError: unsupported operand" in called.stderr
    shown = run("-A", "proj", "result", task_id, "--traceback")
    assert shown.returncode == 0
    assert "proj.py" in shown.stdout
    assert "TypeError" in shown.stdout


def test_a_result_that_is_not_there(project: Path, run: Run) -> None:
    shown = run("-A", "proj", "result", "1234")
    assert shown.returncode == 1
    assert "1234 is PENDING: nothing is known of it" in shown.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-a", "1, 2"], "as in '[1, 2]'"),
        (["-a", "{}"], "JSON of another kind"),
        (["-k", "[]"], "JSON of another kind"),
        (["--eta", "tomorrow"], "'tomorrow' is no time"),
        (["--expires", "soon"], "or a number of seconds"),
        (["--eta", "2030-01-01T00:00:00", "--countdown", "3"], "give one of them"),
    ],
)
def test_calls_that_are_wrong(project: Path, run: Run, words: list[str], said: str) -> None:
    done = run("-A", "proj", "call", "proj.add", *words)
    assert done.returncode == 2
    assert said in done.stderr


def test_purge_counts_and_asks_first(project: Path, run: Run) -> None:
    for _ in range(2):
        assert run("-A", "proj", "call", "proj.add", "-a", "[1, 2]").returncode == 0
    assert run("-A", "proj", "call", "proj.add", "--queue", "other").returncode == 0
    asked = run("-A", "proj", "purge")
    assert asked.returncode == 130
    assert "all messages that wait in celery" in asked.stderr
    assert "Aborted." in asked.stderr
    done = run("-A", "proj", "purge", "-f", "-Q", "celery,other", "-X", "other")
    assert (done.returncode, done.stdout) == (0, "Purged 2 messages from 1 queue: celery\n")
    assert "Purged 1 message from 1 queue: other" in run("purge", "-A", "proj", "-f", "-Q", "other").stdout


def test_list_bindings(project: Path, run: Run) -> None:
    done = run("-A", "proj", "list", "bindings")
    assert done.returncode == 0
    assert done.stdout.split() == [
        "Queue",
        "Exchange",
        "Type",
        "Routing",
        "key",
        "celery",
        "celery",
        "direct",
        "celery",
    ]


def test_the_graph_has_the_apps_own_steps(tmp_path: Path, run: Run) -> None:
    (tmp_path / "stepped.py").write_text(STEPS)
    done = run("-A", "stepped", "graph", "bootsteps", "--format", "json")
    assert done.returncode == 0, done.stderr
    graphs = json.loads(done.stdout)
    assert graphs["worker"]["needs"]["lamp"] == ["pool"]
    assert graphs["worker"]["order"].index("pool") < graphs["worker"]["order"].index("lamp")
    assert graphs["consumer"]["needs"]["reader"] == ["tasks"]
    one = json.loads(run("-A", "stepped", "graph", "bootsteps", "--format=json", "--blueprint=consumer").stdout)
    assert one == graphs["consumer"]


def test_the_graph_in_other_languages(tmp_path: Path, run: Run) -> None:
    (tmp_path / "stepped.py").write_text(STEPS)
    dot = run("-A", "stepped", "graph", "bootsteps").stdout
    assert dot.startswith("digraph")
    assert '"worker: lamp" -> "worker: pool";' in dot
    assert '"consumer: connection" -> "worker: consumer";' in dot
    mermaid = run("-A", "stepped", "graph", "bootsteps", "--format", "mermaid", "--blueprint", "worker").stdout
    assert mermaid.startswith("flowchart LR")
    assert '["lamp"]' in mermaid


def test_a_step_that_cannot_be_placed_is_told(tmp_path: Path, run: Run) -> None:
    (tmp_path / "stepped.py").write_text(STEPS.replace('("pool",)', '("pole",)'))
    done = run("-A", "stepped", "graph", "bootsteps")
    assert done.returncode == 1
    assert "step 'lamp' needs 'pole', which no step provides" in done.stderr


def test_report_hides_secrets(tmp_path: Path, run: Run) -> None:
    (tmp_path / "secretive.py").write_text(
        "from umbel import Umbel\n"
        "app = Umbel('secretive', broker='redis://:hunter2@h/0', backend='sqlite:////tmp/r.db',\n"
        "            security_key='hunter3', task_default_queue='mine')\n"
    )
    done = run("-A", "secretive", "report")
    assert done.returncode == 0, done.stderr
    assert f"Python {sys.version.split()[0]}" in done.stdout
    assert "task_default_queue: mine" in done.stdout
    assert "hunter" not in done.stdout
    for plugin in plugins.installed("pools"):
        assert f"{plugin.name} {plugin.version}" in done.stdout


def test_report_without_an_app(run: Run) -> None:
    done = run("report")
    assert done.returncode == 0
    assert "No app was named" in done.stdout


def test_report_names_a_broker_that_is_not_installed(tmp_path: Path, run: Run) -> None:
    done = run("report", "-b", "nosuch://host")
    assert done.returncode == 0
    (tmp_path / "app.py").write_text("from umbel import Umbel\napp = Umbel('there', broker='nosuch://host')\n")
    done = run("-A", "app", "report")
    assert done.returncode == 0
    assert "Trouble: no broker named 'nosuch' is installed" in done.stdout


def test_plugins_are_listed_with_what_they_can_do(run: Run) -> None:
    done = run("plugins", "--json")
    found = {(row["kind"], row["name"]): row for row in json.loads(done.stdout)}
    assert {key for key in found if key[0] != "hooks"} == {
        (kind, plugin.name) for kind in plugins.KINDS for plugin in plugins.installed(kind)
    }
    assert "atomic_receive" in found["brokers", "sqlite"]["capabilities"]
    assert found["serializers", "json"]["capabilities"] == ["application/json"]
    table = run("plugins").stdout
    assert "umbel-broker-sqlite" in table


def distribution(folder: Path, name: str, entries: str, module: str) -> None:
    """A distribution that is found where Python looks for modules."""
    info = folder / f"{name}-1.2.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(entries)
    (folder / f"{name}.py").write_text(module)


def test_a_broken_plugin_is_shown_and_the_rest_go_on(run: Run, tmp_path: Path) -> None:
    distribution(tmp_path / "site", "bad_pool", "[umbel.pools]\nbad = bad_pool:Pool\n", "import no_such_library\n")
    done = run("plugins", "--json", PYTHONPATH=str(tmp_path / "site"))
    assert done.returncode == 1
    found = {(row["kind"], row["name"]): row for row in json.loads(done.stdout)}
    assert "No module named 'no_such_library'" in found["pools", "bad"]["broken"]
    assert found["pools", "bad"]["version"] == "1.2"
    assert found["pools", "prefork"]["broken"] is None
    assert "BROKEN: the pool 'bad' of bad_pool" in run("plugins", PYTHONPATH=str(tmp_path / "site")).stdout


HELLO = '''
import click
from umbel import hookimpl

@click.command()
@click.argument("name")
def hello(name):
    """Greet somebody."""
    click.echo(f"hello {name}")

@hookimpl
def umbel_commands():
    return [hello]
'''


def test_an_installed_distribution_adds_a_command(run: Run, tmp_path: Path) -> None:
    distribution(tmp_path / "site", "hello_umbel", "[umbel]\nhello = hello_umbel\n", HELLO)
    path = str(tmp_path / "site")
    assert "Greet somebody." in run("--help", PYTHONPATH=path).stdout
    assert run("hello", "you", PYTHONPATH=path).stdout == "hello you\n"
    assert "Did you mean 'hello'?" in run("helo", PYTHONPATH=path).stderr
    assert "umbel_commands" in run("plugins", PYTHONPATH=path).stdout


def test_one_that_is_broken_does_not_keep_the_help_away(run: Run, tmp_path: Path) -> None:
    distribution(tmp_path / "site", "broken_umbel", "[umbel]\nbroken = broken_umbel\n", "raise RuntimeError('no')\n")
    done = run("--help", PYTHONPATH=str(tmp_path / "site"))
    assert done.returncode == 0
    assert "Commands of installed distributions are missing here" in done.stdout
    assert "RuntimeError: no" in " ".join(done.stdout.split())
    assert run("plugins", PYTHONPATH=str(tmp_path / "site")).returncode == 1


def test_sigint_of_a_waiting_call_is_no_traceback(project: Path, start: Start) -> None:
    waiting = start("-A", "proj", "call", "proj.add", "--wait", "60")
    assert waiting.stdout is not None
    assert len(waiting.stdout.readline().strip()) == 36
    waiting.send_signal(signal.SIGINT)
    rest, _ = waiting.communicate(timeout=20)
    assert waiting.returncode == 130
    assert "Traceback" not in rest
