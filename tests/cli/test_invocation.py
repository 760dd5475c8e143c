"""The global options, before a command and after it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from umbel.cli.invocation import Invocation, restore


@pytest.mark.parametrize(
    "words",
    [["-A", "proj"], ["-Aproj"], ["--app", "proj"], ["--app=proj"]],
)
def test_an_app_is_taken_out_of_a_commands_words(words: list[str]) -> None:
    invocation = Invocation()
    assert invocation.take(["-l", "INFO", *words, "-c", "2"]) == ["-l", "INFO", "-c", "2"]
    assert invocation.app_path == "proj"
    assert invocation.names_app


def test_words_that_only_look_like_global_options_stay() -> None:
    invocation = Invocation()
    words = ["-Qbig", "--queues=a", "--", "-A", "proj"]
    assert invocation.take(words) == words
    assert invocation == Invocation()


def test_flags_are_taken_too() -> None:
    invocation = Invocation()
    assert invocation.take(["-C", "-q", "-b", "redis://a", "--result-backend=redis://b"]) == []
    assert (invocation.no_color, invocation.quiet) == (True, True)
    assert (invocation.broker, invocation.result_backend) == ("redis://a", "redis://b")


def test_a_missing_value_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"^-A$"):
        Invocation().take(["-A"])


def test_the_environment_is_as_before_afterwards(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(os.getcwd())
    monkeypatch.setenv("UMBEL_BROKER_URL", "redis://before")
    monkeypatch.delenv("UMBEL_RESULT_BACKEND", raising=False)
    before = Invocation(broker="redis://a", result_backend="redis://b", workdir=str(tmp_path)).apply()
    assert os.environ["UMBEL_BROKER_URL"] == "redis://a"
    assert os.environ["UMBEL_RESULT_BACKEND"] == "redis://b"
    assert Path.cwd() == tmp_path
    restore(before)
    assert os.environ["UMBEL_BROKER_URL"] == "redis://before"
    assert "UMBEL_RESULT_BACKEND" not in os.environ
