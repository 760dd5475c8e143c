"""Messages of one form: written from a template, they are the text that each would be written to alone."""

from __future__ import annotations

from typing import Any

import pytest

from umbel_broker_sqlite.envelope import encode
from umbel_broker_sqlite.template import Template, Templates
from umbel_kernel.errors import EncodeError
from umbel_kernel.spi.message import Form, Message

FORM = Form(("id", "args", "more"))


def message(**changes: Any) -> Message:
    headers = {"lang": "py", "id": "one", "none": None, "limits": [None, 3.5], "args": "()", "more": None, "é%s": "{%"}
    headers |= changes.pop("headers", {})
    members: dict[str, Any] = {"correlation_id": "one", "reply_to": "me", "form": FORM, "body": b"[]", **changes}
    return Message(routing_key="q", headers=headers, **members)


@pytest.mark.parametrize("common", [{}, {"priority": 7, "exchange": "e", "headers": {"lang": b"\xff"}}])
@pytest.mark.parametrize(
    "other",
    [
        {},
        {"correlation_id": None},
        {"correlation_id": 'a "quoted" \\ one, \n and ünïcode \ud800'},
        {"headers": {"id": 'x", "id": "y', "args": "(%s, '\\u1234', \x00)"}},
        {"headers": {"more": {"deep": [1, 2.5, True, None, "é"]}, "id": 5}},
        {"headers": {"more": {"deep": b"\xff"}}},
    ],
)
def test_a_template_writes_what_encode_writes(common: dict[str, Any], other: dict[str, Any]) -> None:
    headers = {**common.get("headers", {}), **other.get("headers", {})}
    wanted = message(**{**common, **other, "headers": headers})
    assert Template(message(**{**common})).envelope(wanted) == encode(wanted)


def test_a_header_that_is_no_plain_data_is_refused() -> None:
    with pytest.raises(EncodeError):
        Template(message()).envelope(message(headers={"more": object()}))


def test_forms_do_not_mix_and_do_not_pile_up() -> None:
    templates = Templates()
    forms = [Form(("id",)) for _ in range(600)]
    for _ in range(3):
        for number, form in enumerate(forms):
            wanted = message(form=form, headers={"id": str(number), "args": f"({number % 7},)"})
            if number % 7 == 0:
                assert templates.envelope(wanted) == encode(wanted)
    assert len(templates._found) <= 512
