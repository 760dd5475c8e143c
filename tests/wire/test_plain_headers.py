"""Plain headers are told by one comparison; it must never pass what the full check refuses."""

from __future__ import annotations

from typing import Any

import pytest

from umbel.model.exceptions import InvalidTaskError
from umbel.wire.headers import check_headers, is_plain

PLAIN: dict[str, Any] = {
    "lang": "py",
    "task": "shop.pay",
    "id": "e973601a-5517-471d-9b29-327ff5e1afa9",
    "shadow": None,
    "eta": None,
    "expires": None,
    "group": None,
    "group_index": None,
    "retries": 0,
    "timelimit": [None, None],
    "root_id": "e973601a-5517-471d-9b29-327ff5e1afa9",
    "parent_id": None,
    "argsrepr": "(1, 2)",
    "kwargsrepr": "{}",
    "origin": "gen25705@vm",
    "ignore_result": False,
    "replaced_task_nesting": 0,
    "stamped_headers": None,
    "stamps": {},
}
STRANGE = [
    None,
    True,
    False,
    0,
    1,
    -1,
    0.0,
    1.5,
    "",
    "x",
    "a\nb",
    "x" * 600,
    b"x",
    [],
    [None],
    [None, None],
    [1, 2],
    {},
]


def test_what_a_producer_sends_is_plain() -> None:
    assert is_plain(PLAIN)
    assert is_plain({**PLAIN, "ignore_result": True, "stamps": None})


@pytest.mark.parametrize("name", [*PLAIN, "compression", "umbel-lost", "mine"])
@pytest.mark.parametrize("value", STRANGE, ids=lambda value: repr(value)[:12])
def test_what_is_plain_is_right_and_says_nothing_more(name: str, value: Any) -> None:
    headers = {**PLAIN, name: value}
    if not is_plain(headers):
        return
    check_headers(headers)
    assert (
        name in ("lang", "task", "argsrepr", "kwargsrepr", "origin", "ignore_result", "stamps") or value == PLAIN[name]
    )


@pytest.mark.parametrize("name", PLAIN)
def test_headers_of_which_one_is_missing_are_not_plain(name: str) -> None:
    headers = {key: value for key, value in PLAIN.items() if key != name}
    assert not is_plain(headers)
    assert not is_plain({**headers, "other": 1})


@pytest.mark.parametrize("name", ["retries", "replaced_task_nesting"])
def test_a_count_that_is_no_number_is_not_taken_for_none(name: str) -> None:
    assert not is_plain({**PLAIN, name: False})
    with pytest.raises(InvalidTaskError, match=name):
        check_headers({**PLAIN, name: False})
