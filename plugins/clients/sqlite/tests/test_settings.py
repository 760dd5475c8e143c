"""Settings that are given in full, without their prefix, wrongly, or not at all."""

from __future__ import annotations

import pytest

from umbel_client_sqlite import value_of
from umbel_kernel.errors import ConfigurationError
from umbel_kernel.setting import Setting

SETTINGS = (
    Setting("store_synchronous", "str", "NORMAL", "When it is flushed.", ("NORMAL", "FULL")),
    Setting("store_interval", "float", 0.5, "Seconds."),
    Setting("store_pages", "int", 4000, "Pages."),
)


@pytest.mark.parametrize(
    ("options", "name", "value"),
    [
        ({}, "store_interval", 0.5),
        ({"store_interval": None}, "store_interval", 0.5),
        ({"store_interval": "2"}, "store_interval", 2.0),
        ({"interval": 2}, "store_interval", 2.0),
        ({"store_interval": 3, "interval": 2}, "store_interval", 3.0),
        ({"pages": 10.0}, "store_pages", 10),
        ({"synchronous": "full"}, "store_synchronous", "FULL"),
    ],
)
def test_values(options: dict[str, object], name: str, value: object) -> None:
    found = value_of(SETTINGS, "store_", options, name)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"synchronous": "SOMETIMES"}, "store_synchronous"),
        ({"interval": 0}, "store_interval"),
        ({"interval": "long"}, "store_interval"),
        ({"interval": float("inf")}, "store_interval"),
        ({"interval": float("nan")}, "store_interval"),
        ({"pages": -1}, "store_pages"),
    ],
)
def test_values_that_are_wrong(options: dict[str, object], name: str) -> None:
    with pytest.raises(ConfigurationError, match=name):
        value_of(SETTINGS, "store_", options, name)
