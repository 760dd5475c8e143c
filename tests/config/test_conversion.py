"""Values are converted to the type of their setting, or refused with what would do."""

from __future__ import annotations

from datetime import UTC, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from umbel.config.conversion import Unfit, allowed, convert
from umbel_kernel.setting import Setting


def of(type_: str, default: Any = 0, choices: tuple[Any, ...] = ()) -> Setting:
    return Setting("it", type_, default, "It.", choices)


@pytest.mark.parametrize(
    ("type_", "given_value", "expected"),
    [
        ("bool", True, True),
        ("bool", 0, False),
        ("bool", 1, True),
        ("bool", "true", True),
        ("bool", " Off ", False),
        ("bool", "no", False),
        ("int", 5, 5),
        ("int", "5", 5),
        ("int", "-3", -3),
        ("int", 4.0, 4),
        ("float", 2.5, 2.5),
        ("float", 4, 4.0),
        ("float", "0.25", 0.25),
        ("float", "inf", float("inf")),
        ("float", timedelta(minutes=1, milliseconds=500), 60.5),
        ("str", "x", "x"),
        ("str", "", ""),
        ("str", Path("/var/run/x.pid"), "/var/run/x.pid"),
        ("bytes", b"x", b"x"),
        ("list", ["a"], ["a"]),
        ("list", ("a",), ("a",)),
        ("list", {"b", "a"}, ("a", "b")),
        ("list", "a, b,", ["a", "b"]),
        ("list", '["a", 1]', ["a", 1]),
        ("dict", {"a": 1}, {"a": 1}),
        ("dict", '{"a": [1]}', {"a": [1]}),
        ("class", Path, Path),
        ("callable", len, len),
        ("tzinfo", UTC, UTC),
        ("any", 3j, 3j),
        ("int|none", "none", None),
        ("int|none", "", None),
        ("int|none", None, None),
        ("int|'auto'", "auto", "auto"),
        ("int|'auto'", "8", 8),
        ("str|int", "022", "022"),
        ("str|int", 18, 18),
        ("str|int|float", 18, 18),
        ("str|int|float", 0.5, 0.5),
        ("bool|dict", {"ca_certs": "x"}, {"ca_certs": "x"}),
        ("bool|dict", "yes", True),
    ],
)
def test_fits(type_: str, given_value: Any, expected: Any) -> None:
    converted = convert(of(type_), given_value)
    assert converted == expected
    assert type(converted) is type(expected)


@pytest.mark.parametrize(
    ("type_", "given_value"),
    [
        ("bool", "maybe"),
        ("bool", 2),
        ("bool", 1.0),
        ("bool", None),
        ("int", "5.5"),
        ("int", 4.5),
        ("int", True),
        ("int", "lots"),
        ("int", float("inf")),
        ("float", "nan"),
        ("float", float("nan")),
        ("float", True),
        ("float", Fraction(1, 2)),
        ("str", 5),
        ("str", b"x"),
        ("str", None),
        ("bytes", "x"),
        ("list", 5),
        ("list", {"a": 1}),
        ("list", "[1"),
        ("dict", [("a", 1)]),
        ("dict", "[1]"),
        ("dict", "{"),
        ("class", "x"),
        ("callable", 5),
        ("tzinfo", 0),
        ("int|'auto'", "car"),
        ("int|none", "never"),
    ],
)
def test_does_not_fit(type_: str, given_value: Any) -> None:
    with pytest.raises(Unfit):
        convert(of(type_), given_value)


def test_none_is_allowed_where_it_is_the_default_and_only_there() -> None:
    assert convert(of("int", default=None), None) is None
    with pytest.raises(Unfit, match="a whole number"):
        convert(of("int"), None)


def test_choices() -> None:
    setting = of("int|str", 2, (1, 2, "transient"))
    assert convert(setting, "transient") == "transient"
    assert convert(setting, "1") == 1
    with pytest.raises(Unfit, match="one of 1, 2, 'transient'"):
        convert(setting, "3")


def test_what_is_allowed_is_said_in_words() -> None:
    assert allowed(of("int|'auto'", None)) == "a whole number, 'auto' or None"
    assert allowed(of("bool", True)) == "true or false"


def test_a_type_that_does_not_exist_is_an_error_of_its_own() -> None:
    with pytest.raises(ValueError, match="'integer' is not the name of a type"):
        convert(of("integer"), 1)


def test_a_large_whole_number_is_no_reason_to_crash() -> None:
    assert convert(of("int"), 10**400) == 10**400
    with pytest.raises(Unfit):
        convert(of("float"), 10**400)


@given(some.from_regex(r"[a-z|']{1,12}", fullmatch=True) | some.none() | some.integers() | some.floats() | some.text())
def test_whatever_is_given_either_fits_or_is_refused(value: Any) -> None:
    for type_ in ("bool", "int", "float", "str", "list", "dict", "class", "int|'auto'", "str|list", "float|none"):
        try:
            converted = convert(of(type_), value)
        except Unfit:
            continue
        assert convert(of(type_), converted) == converted, "what was converted once stays as it is"
