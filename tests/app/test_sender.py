"""Messages of calls whose plan was made before: the same as those of a sender that sees them for the first time."""

from __future__ import annotations

import copy
import os
import uuid as standard
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from umbel import Umbel
from umbel.app.outbox import Outgoing
from umbel.app.plan import Plan
from umbel.app.sender import Sender
from umbel.model import signals
from umbel.model.ids import uuid
from umbel_kernel.errors import ConfigurationError
from umbel_kernel.spi.message import Message

NOW = datetime(2026, 1, 1, tzinfo=UTC)
OPTIONS: list[dict[str, Any]] = [
    {},
    {"countdown": 10},
    {"countdown": 0},
    {"countdown": None, "expires": None},
    {"eta": NOW, "expires": timedelta(seconds=5)},
    {"expires": 20},
    {"queue": "other"},
    {"queue": "other", "priority": 5},
    {"priority": 1},
    {"headers": {"trace": "abc"}},
    {"headers": {"trace": {"deep": [1]}, "more": None}},
    {"headers": {"origin": "elsewhere", "id": "odd"}},
    {"headers": {}},
    {"exchange": "topics", "routing_key": "a.b"},
    {"serializer": "pickle"},
    {"serializer": "pickle", "compression": "zlib"},
    {"compression": "zlib"},
    {"link": {"task": "after"}},
    {"link": [{"task": "after"}], "link_error": {"task": "failed"}},
    {"chain": [{"task": "next"}], "group_id": "g", "group_index": 3},
    {"root_id": "root", "parent_id": "parent"},
    {"shadow": "name", "argsrepr": "(...)", "kwargsrepr": "{...}"},
    {"time_limit": 10, "soft_time_limit": 5.5},
    {"retries": 2, "ignore_result": True, "replaced_task_nesting": 1},
    {"delivery_mode": "transient", "expiration": 30, "reply_to": "me", "correlation_id": "c"},
    {"stamped_headers": ["stamp"], "stamp": ["value"]},
    {"task_protocol": 1},
    {"task_protocol": 1, "headers": {"trace": "abc"}, "compression": "zlib"},
    {"retry": False, "retry_policy": {"max_retries": 1}, "add_to_parent": False},
]
CALLS: list[tuple[Any, Any]] = [((), {}), ((1, "two"), {"three": [3]}), ([], None), (None, {"a": 1})]


@pytest.fixture
def still(app: Umbel, monkeypatch: pytest.MonkeyPatch) -> Umbel:
    """An app whose clock stands, and which knows a queue of a topic exchange."""
    app.conf.accept_content = ["json", "pickle"]
    monkeypatch.setattr(app, "now", lambda: NOW)
    return app


def _facts(outgoing: Outgoing) -> dict[str, Any]:
    message = outgoing.message
    found = {name: getattr(message, name) for name in Message.__slots__ if name != "form"}
    return {**copy.deepcopy(found), "queue": outgoing.queue, "order": list(message.headers)}


def _same(sender: Sender, args: Any, kwargs: Any, options: dict[str, Any]) -> dict[str, Any]:
    return _facts(sender.make(args, kwargs, {"task_id": "the-id", **options})[1])


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("defaults", [{}, {"queue": "own", "priority": 3, "expires": 60, "ignore_result": True}])
def test_a_plan_is_as_good_as_new(still: Umbel, defaults: dict[str, Any], options: dict[str, Any]) -> None:
    used = Sender(still, "a.task", defaults)
    for other in OPTIONS:
        for args, kwargs in CALLS:
            used.make(args, kwargs, copy.deepcopy(other))
    for args, kwargs in CALLS:
        fresh = Sender(still, "a.task", defaults)
        assert _same(used, args, kwargs, copy.deepcopy(options)) == _same(fresh, args, kwargs, options)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_messages_of_one_form_differ_only_where_it_says(still: Umbel, options: dict[str, Any]) -> None:
    sender = Sender(still, "a.task", {})
    made = [sender.make((number,), {}, copy.deepcopy(options))[1].message for number in range(3)]
    form = made[0].form
    assert all(message.form is form for message in made)
    if form is None:
        assert options.keys() & {"stamped_headers", "task_protocol"}
        return
    free = {"body", "headers", "correlation_id", "delay"}
    for message in made[1:]:
        for name in set(Message.__slots__) - free:
            assert getattr(message, name) == getattr(made[0], name)
        assert list(message.headers) == list(made[0].headers)
        for name in message.headers.keys() - set(form.varying):
            assert message.headers[name] == made[0].headers[name]


def test_calls_with_other_options_are_of_another_form(still: Umbel) -> None:
    sender = Sender(still, "a.task", {})
    forms = {
        id(sender.make((), {}, options)[1].message.form)
        for options in ({}, {"priority": 1}, {"priority": 2}, {"queue": "x"}, {"headers": {"a": 1}}, {"expires": 1})
    }
    assert len(forms) == 6
    assert sender.make((), {}, {"expires": 5})[1].message.form is sender.make((), {}, {"expires": 6})[1].message.form


def test_plans_of_ever_new_options_do_not_pile_up(still: Umbel) -> None:
    sender = Sender(still, "a.task", {})
    for number in range(2000):
        sender.make((), {}, {"routing_key": str(number), "exchange": "topics"})
    assert len(sender._plans) <= 512


def test_options_that_cannot_be_compared_are_no_fault(still: Umbel) -> None:
    sender = Sender(still, "a.task", {})
    for _ in range(2):
        _, outgoing = sender.make((), {}, {"unknown": {"a": []}, "priority": 4})
        assert outgoing.message.priority == 4


def test_one_is_no_true(still: Umbel) -> None:
    sender = Sender(still, "a.task", {})
    sender.make((), {}, {"priority": 1})
    with pytest.raises(ConfigurationError):
        sender.make((), {}, {"priority": True})


def test_a_route_that_asks_for_the_arguments_is_asked_each_time(still: Umbel) -> None:
    still.conf.task_routes = lambda name, args, kwargs, options, task=None: {"queue": f"q{args[0]}"}
    sender = Sender(still, "a.task", {})
    for number in (1, 2, 1):
        assert sender.make((number,), {}, {})[1].message.routing_key == f"q{number}"
    assert sender.make((5,), {}, {"queue": "given"})[1].message.routing_key == "given"


def test_a_route_by_name_is_asked_once(still: Umbel) -> None:
    still.conf.task_routes = {"a.*": {"queue": "routed", "priority": 7, "expires": 5}}
    sender = Sender(still, "a.task", {})
    for _ in range(3):
        message = sender.make((), {}, {})[1].message
        assert (message.routing_key, message.priority) == ("routed", 7)
        assert message.headers["expires"] == (NOW + timedelta(seconds=5)).isoformat()
    assert isinstance(sender._plans[()], Plan)


def test_receivers_may_change_headers_without_harming_other_messages(still: Umbel) -> None:
    def before(headers: dict[str, Any], **_: Any) -> None:
        headers["timelimit"].append("changed")
        headers["stamps"]["changed"] = True
        headers["extra"] = True

    sender = still._calls.sender_of("a.task")
    sender.make((), {}, {})
    signals.before_task_publish.connect(before)
    try:
        still.send_task("a.task")
    finally:
        signals.before_task_publish.disconnect(before)
    message = sender.make((), {}, {})[1].message
    assert message.headers["timelimit"] == [None, None]
    assert message.headers["stamps"] == {}
    assert "extra" not in message.headers


def test_ids_are_uuids_of_version_4_and_never_the_same() -> None:
    found = {uuid() for _ in range(10_000)}
    assert len(found) == 10_000
    for each in list(found)[:500]:
        parsed = standard.UUID(each)
        assert (str(parsed), parsed.version, parsed.variant) == (each, 4, standard.RFC_4122)


def test_a_child_gives_out_ids_of_its_own() -> None:
    uuid()
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, ",".join(uuid() for _ in range(100)).encode())
        os._exit(0)
    os.waitpid(child, 0)
    found = os.read(read, 10_000).decode().split(",")
    assert len({*found, *(uuid() for _ in range(100))}) == 200
    os.close(read)
    os.close(write)
