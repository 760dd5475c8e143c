"""Arguments, results and errors as they come out on the other side."""

from __future__ import annotations

import sys
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

VALUES = {
    "text": "Grüße, 世界 🌍",
    "large number": 2**70,
    "nothing": None,
    "nested": {"a": [1, 2.5, {"b": [True, None]}]},
    "datetime in UTC": datetime(2026, 2, 28, 12, 30, 15, 123456, UTC),
    "datetime elsewhere": datetime(2026, 2, 28, 12, 30, tzinfo=timezone(timedelta(hours=5, minutes=30))),
    "datetime without zone": datetime(2026, 2, 28, 12, 30, 15),
    "date": date(2026, 2, 28),
    "time": time(23, 59, 58, 1),
    "decimal": Decimal("3.14159265358979323846"),
    "uuid": UUID("12345678-1234-4678-9234-567812345678"),
    "utf-8 bytes": b"plain",
    "other bytes": b"\x00\xff\xfe",
}


def test_values_keep_their_types(pair: Any) -> None:
    sent = {name: pair.task("echo").delay(value) for name, value in VALUES.items()}
    for name, value in VALUES.items():
        there, back = sent[name].get(timeout=20)
        assert (name, there, back, type(back)) == (name, type(value).__name__, value, type(value))


def test_values_inside_of_others_keep_their_types(pair: Any) -> None:
    value = {"list": list(VALUES.values())}
    assert pair.task("echo").delay(value).get(timeout=20) == ["dict", value]


def test_an_error_is_raised_at_the_client_with_its_class_and_traceback(pair: Any) -> None:
    result = pair.task("fail").delay("coffee", wanted=2)
    with pytest.raises(Exception, match="coffee") as caught:
        result.get(timeout=20)
    assert type(caught.value).__module__ == "interop_jobs"
    assert type(caught.value).__name__ == "OutOfStock"
    assert caught.value.args == ("coffee", 2)
    assert "in fail" in result.traceback
    assert (result.failed(), result.successful(), result.state) == (True, False, "FAILURE")
    assert result.get(propagate=False).args == ("coffee", 2)


def test_an_error_of_a_class_that_the_client_has_not_is_still_one(pair: Any) -> None:
    with pytest.raises(Exception, match="of") as caught:
        pair.task("fail_strangely").delay().get(timeout=20)
    assert "interop_hidden" not in sys.modules
    assert type(caught.value).__name__ == "Unheard"


def test_the_document_says_more_when_results_are_extended(pair: Any) -> None:
    result = pair.task("add").delay(1, y=2)
    assert result.get(timeout=20) == 3
    assert result.name == "jobs.add"
    assert list(result.args) == [1]
    assert result.kwargs == {"y": 2}
    assert result.worker == pair.fleet.hostname(pair.side)
    assert result.queue == pair.fleet.queue(pair.side)
    assert result.date_done is not None
