"""Signatures and messages beside those of real Celery: each reads and runs what the other made."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

celery = pytest.importorskip("celery")

from umbel.canvas import chain, chord, chunks, group, maybe_signature, signature, xmap, xstarmap  # noqa: E402
from umbel.canvas.signature import Signature  # noqa: E402

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def flows(app: Any, kit: Any) -> dict[str, Any]:
    """The same workflows, made with one library's parts."""
    add, total = app.tasks["tasks.add"], app.tasks["tasks.total"]
    return {
        "plain": add.s(1, 2),
        "immutable with options": add.si(1, y=2).set(queue="q", priority=3, countdown=5),
        "callbacks": add.signature((1, 2), link=[total.s()], link_error=[total.si()]),
        "chain": add.s(1, 2) | add.s(3) | add.s(4),
        "chain of one list": kit.chain([add.s(1, 2), add.s(3)]),
        "chain of chains": (add.s(1, 2) | add.s(3)) | (add.s(4) | add.s(5)),
        "group": kit.group([add.s(1, 2), add.s(3, 4)]),
        "group of many arguments": kit.group(add.s(1, 2), add.s(3, 4), add.s(5, 6)),
        "chord": kit.chord([add.s(1, 2), add.s(3, 4)], total.s()),
        "group | task": kit.group([add.s(1, 2), add.s(3, 4)]) | total.s(),
        "task | group": add.s(1, 2) | kit.group([add.s(3), add.s(4)]),
        "task | group of one": add.s(1, 2) | kit.group([add.s(3)]),
        "task | group | task": add.s(1, 2) | kit.group([add.s(3), add.s(4)]) | total.s(),
        "task | group | task | task": add.s(1, 2) | kit.group([add.s(3), add.s(4)]) | total.s() | add.s(5),
        "chord | task": kit.chord([add.s(1, 2)], total.s()) | add.s(5),
        "chord | chain": kit.chord([add.s(1, 2)], total.s()) | (add.s(5) | add.s(6)),
        "chord | group": kit.chord([add.s(1, 2)], total.s()) | kit.group([add.s(5), add.s(6)]),
        "group | group": kit.group([add.s(1, 2), add.s(2, 2)]) | kit.group([total.s(), total.s()]),
        "chain | empty group": (add.s(1, 2) | add.s(2)) | kit.group([]),
        "chain()": kit.chain(add.s(1, 2), kit.group([add.s(3), add.s(4)]), total.s(), kit.group([add.s(1), add.s(2)])),
        "chain(group, task)": kit.chain(kit.group([add.s(3, 1), add.s(4, 1)]), total.s()),
        "map": add.map([1, 2]),
        "starmap": add.starmap([(1, 2), (3, 4)]),
        "chunks": add.chunks([(1, 2), (3, 4)], 1),
    }


class Ours:
    chain, chord, group = chain, chord, group


NAMES = [
    "plain", "immutable with options", "callbacks", "chain", "chain of one list", "chain of chains", "group",
    "group of many arguments", "chord", "group | task", "task | group", "task | group of one", "task | group | task",
    "task | group | task | task", "chord | task", "chord | chain", "chord | group", "group | group",
    "chain | empty group", "chain()", "chain(group, task)", "map", "starmap", "chunks",
]  # fmt: skip


def plain(sig: Any) -> Any:
    return json.loads(json.dumps(sig))


@pytest.mark.parametrize("name", NAMES)
def test_a_workflow_is_the_dict_that_celery_makes(app: Any, theirs: Any, name: str) -> None:
    assert plain(flows(app, Ours)[name]) == plain(flows(theirs, celery)[name])


@pytest.mark.parametrize("name", NAMES)
def test_a_dict_of_celerys_comes_back_as_itself(app: Any, theirs: Any, name: str) -> None:
    data = plain(flows(theirs, celery)[name])
    assert plain(signature(data, app=app)) == data
    assert plain(signature(data, app=app).clone()) == data
    assert isinstance(signature(data), Signature.TYPES.get(data["subtask_type"], Signature))


@pytest.mark.parametrize("name", NAMES)
def test_celery_reads_a_dict_of_ours(app: Any, theirs: Any, name: str) -> None:
    data = plain(flows(app, Ours)[name])
    read = celery.signature(data, app=theirs)
    assert plain(read) == data
    assert type(read).__name__.lstrip("_") == (data["subtask_type"] or "Signature")


RUNNABLE = {
    "chain": 10,
    "chain of chains": 15,
    "group": [3, 7],
    "chord": 10,
    "task | group": [6, 7],
    "task | group | task": 13,
    "task | group | task | task": 18,
    "chord | chain": 14,
    "group | group": [7, 7],
    "chain()": [14, 15],
    "starmap": [3, 7],
}


@pytest.mark.parametrize("name", RUNNABLE)
def test_a_workflow_of_celerys_runs_here(app: Any, theirs: Any, work: Any, name: str) -> None:
    result = signature(plain(flows(theirs, celery)[name]), app=app).apply_async()
    work()
    assert result.get(timeout=0) == RUNNABLE[name]


@pytest.mark.parametrize("name", ["chain", "chord", "task | group | task", "task | group | task | task", "chain()"])
def test_a_workflow_that_celery_froze_runs_here_under_its_ids(app: Any, theirs: Any, work: Any, name: str) -> None:
    flow = flows(theirs, celery)[name]
    frozen = flow.freeze()
    result = signature(plain(flow), app=app).apply_async()
    work()
    assert result.get(timeout=0) == RUNNABLE[name]
    if not hasattr(frozen, "results"):
        assert result.id == frozen.id


def renamed(value: Any) -> Any:
    """Ids as numbers in the order of their appearance; what may differ from sender to sender is left out."""
    seen: dict[str, str] = {}
    text = json.dumps(value, sort_keys=True)
    return json.loads(UUID.sub(lambda found: seen.setdefault(found[0], f"id {len(seen)}"), text))


def essence(headers: dict[str, Any], body: Any) -> Any:
    names = ("task", "id", "root_id", "parent_id", "group", "group_index")
    return [[headers.get(name) for name in names], without_senders(body)]


def without_senders(value: Any) -> Any:
    """Without ``reply_to``, and without options that say nothing because they are null."""
    if isinstance(value, dict):
        nothing = {"root_id", "parent_id"}
        return {
            name: without_senders(member)
            for name, member in value.items()
            if name != "reply_to" and not (name in nothing and member is None)
        }
    return [without_senders(member) for member in value] if isinstance(value, list) else value


@pytest.mark.parametrize("name", ["plain", "chain", "chain of chains", "group", "task | group"])
def test_a_workflow_is_sent_in_the_messages_that_celery_sends(
    app: Any, theirs: Any, work: Any, messages_of: Any, name: str
) -> None:
    expected = [essence(*message) for message in messages_of(flows(theirs, celery)[name])]
    flows(app, Ours)[name].apply_async()
    count = len(expected)
    work()
    sent = [essence(*message) for message in zip(work.headers[:count], work.bodies[:count], strict=True)]
    assert renamed(sent) == renamed(expected)


def test_a_chords_header_carries_the_body_that_celerys_carries(
    app: Any, theirs: Any, work: Any, messages_of: Any
) -> None:
    expected = messages_of(flows(theirs, celery)["chord"])
    flows(app, Ours)["chord"].apply_async()
    work()
    for (_, their_body), our_body in zip(expected, work.bodies, strict=False):
        their_chord, our_chord = their_body[2]["chord"], dict(our_body[2]["chord"])
        assert our_chord.pop("chord_size") == 2
        their_options, our_options = their_chord.pop("options"), our_chord.pop("options")
        # What says nothing is left out, since each task of the header carries it.
        assert {"subtask_type": None, "immutable": False, **our_chord} == their_chord
        # Celery gives the body the header's group too, which means nothing outside of a chord; see reply_to for rpc.
        assert set(their_options) - set(our_options) <= {"group_id", "reply_to"}
        assert our_options["task_id"]


def test_every_kind_is_known_by_celerys_name() -> None:
    assert set(Signature.TYPES) == set(celery.canvas.Signature.TYPES)
    assert isinstance(maybe_signature({"task": "t", "subtask_type": "xmap", "kwargs": {"task": {"task": "u"}}}), xmap)
    assert issubclass(xstarmap, Signature) and issubclass(chunks, Signature)
