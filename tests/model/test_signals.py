"""The signals are Celery's: every name, every argument."""

from __future__ import annotations

import celery.signals as celerys
import pytest

from umbel import signals
from umbel.model.signal import Signal

NAMES = sorted(name for name, found in vars(celerys).items() if type(found).__name__ == "Signal")


def test_there_are_as_many() -> None:
    assert len(NAMES) == 34
    assert sorted(name for name, found in vars(signals).items() if isinstance(found, Signal)) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_each_has_its_arguments(name: str) -> None:
    ours, theirs = getattr(signals, name), getattr(celerys, name)
    assert ours.name == theirs.name == name
    assert ours.providing_args >= set(theirs.providing_args or ())
