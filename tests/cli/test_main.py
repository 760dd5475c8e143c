"""The group itself: help, unknown commands, global options, and errors."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Run, clean_environment
from umbel import __version__
from umbel.cli.main import COMMANDS, PLANNED, main


def test_help_names_every_command_and_imports_none(tmp_path: Path) -> None:
    program = (
        "import sys\nfrom umbel.cli.main import main\ncode = main(['--help'])\n"
        "print(code, *(name for name in sys.modules if name.startswith(('umbel.', 'rich', 'pluggy'))))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=tmp_path)
    shown, _, last = done.stdout.rstrip().rpartition("\n")
    for name, entry in COMMANDS.items():
        assert f"  {name} " in shown
        assert entry.summary in shown
    code, *loaded = last.split()
    assert code == "0"
    assert set(loaded) == {"umbel.cli", "umbel.cli.main", "umbel.cli.group", "umbel.cli.invocation"}


@pytest.mark.parametrize("name", COMMANDS)
def test_the_summary_in_the_table_is_the_first_sentence_of_the_commands_help(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([name, "--help"]) == 0
    usage, _, text = capsys.readouterr().out.partition("\n\n")
    assert usage.startswith(f"Usage: umbel {name}")
    assert " ".join(text.split()).startswith(COMMANDS[name].summary)


def test_no_words_show_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert "umbel demo" in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"umbel {__version__}\n"


def test_a_misspelt_command_is_guessed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["wroker"]) == 2
    said = capsys.readouterr().err
    assert "There is no command 'wroker'" in said
    assert "Did you mean 'worker'?" in said


@pytest.mark.parametrize("name", PLANNED)
def test_commands_of_celery_that_are_missing_are_named_as_such(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name]) == 2
    assert f"Celery's command {name!r} is not there yet" in capsys.readouterr().err


def test_an_error_has_no_traceback_unless_asked_for(run: Run, project: Path) -> None:
    words = ("-A", "proj", "-b", "nosuch://user:hunter2@host", "call", "proj.add")
    plain = run(*words)
    assert plain.returncode == 1
    assert plain.stderr.startswith("Error: no broker named 'nosuch' is installed")
    assert "Traceback" not in plain.stderr
    assert "hunter2" not in plain.stderr
    for shown in (run("--traceback", *words), run(*words, UMBEL_DEBUG="1")):
        assert shown.returncode == 1
        assert "Traceback" in shown.stderr


def test_a_reader_that_goes_away_is_no_error(project: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "umbel", "report"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=project,
        env=clean_environment(),
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 1
