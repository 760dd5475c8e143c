"""Result documents, beside those of real Celery."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from umbel.model.exceptions import RemoteError
from umbel.wire.content import Content
from umbel.wire.result_document import ResultDocument, encode, state_of
from umbel_kernel.errors import ContentError, DecodeError


@pytest.fixture
def theirs() -> Any:
    """Celery's base for backends that keep documents."""
    celery = pytest.importorskip("celery")
    return celery.Celery(backend="cache+memory://", set_as_current=False).backend


def request(**more: Any) -> Any:
    return SimpleNamespace(
        group=None, parent_id=None, children=[], task="t", args=[1], kwargs={"a": 2}, hostname="w@h", retries=2,
        delivery_info={"routing_key": "q"}, stamps=None, stamped_headers=None, reply_to=None, **more,
    )  # fmt: skip


@pytest.mark.parametrize("extended", [False, True])
@pytest.mark.parametrize("state", ["SUCCESS", "STARTED"])
def test_the_members_are_celerys_in_celerys_order(theirs: Any, app: Any, extended: bool, state: str) -> None:
    asked = request()
    asked.group, asked.parent_id = "g", "p"
    theirs.app.conf.result_extended = app.conf.result_extended = extended
    expected = theirs._get_result_meta(result={"a": 1}, state=state, traceback=None, request=asked)
    expected["task_id"] = "id"
    ours = json.loads(app.backend.record("id", state, {"a": 1}, request=asked).body)
    assert list(ours) == list(expected)
    when, expected_when = ours.pop("date_done"), expected.pop("date_done")
    assert ours == expected
    assert (when is None) == (expected_when is None)
    if when is not None:
        assert abs((datetime.fromisoformat(when) - datetime.fromisoformat(expected_when)).total_seconds()) < 5


def test_celery_reads_ours(theirs: Any, app: Any) -> None:
    good = theirs.decode_result(app.backend.record("id", "SUCCESS", [1, "x"], request=request()).body)
    assert (good["status"], good["result"], good["children"], good["task_id"]) == ("SUCCESS", [1, "x"], [], "id")
    bad = theirs.decode_result(app.backend.record("id", "FAILURE", ValueError("no"), traceback="tb").body)
    assert isinstance(bad["result"], ValueError) and bad["traceback"] == "tb"


def test_ours_reads_celerys(theirs: Any) -> None:
    meta = theirs._get_result_meta(
        result=theirs.encode_result(KeyError("k"), "FAILURE"), state="FAILURE", traceback="tb", request=request()
    )
    document = ResultDocument.from_mapping(json.loads(theirs.encode({**meta, "task_id": "id"})))
    assert (document.task_id, document.status, document.traceback, document.children) == ("id", "FAILURE", "tb", [])
    assert isinstance(document.result, KeyError)
    assert document.date_done is not None and document.date_done.tzinfo is not None


def test_date_done_is_there_when_the_task_has_ended_only() -> None:
    assert encode("i", "STARTED", None)["date_done"] is None
    assert encode("i", "REVOKED", None)["date_done"] is not None
    when = datetime(2026, 1, 2, tzinfo=UTC)
    assert encode("i", "SUCCESS", None, date_done=when)["date_done"] == "2026-01-02T00:00:00+00:00"


def test_a_failure_without_an_error_is_still_a_failure() -> None:
    document = ResultDocument.from_mapping({"status": "FAILURE", "result": "just words"}, "id")
    assert isinstance(document.result, RemoteError)
    assert ResultDocument.from_mapping({"status": "FAILURE", "result": None}, "id").result is None


@pytest.mark.parametrize("data", [None, [], "x", {}, {"status": 3}, {"status": "SUCCESS", "date_done": "tomorrow"}])
def test_what_is_no_document_is_refused(data: Any) -> None:
    with pytest.raises(DecodeError):
        ResultDocument.from_mapping(data, "id")


def test_the_state_is_read_out_of_a_body() -> None:
    read = state_of(Content())
    assert read(json.dumps(encode("i", "SUCCESS", 1)).encode()) == "SUCCESS"
    assert read(b'{"status":"MINE"}') == "MINE"
    assert read(b'{"result": {"status": "WRONG"}, "status": "RIGHT"}') == "RIGHT"
    assert read(b'{"status": "ST\\u00c4TE", "result": null}') == "STÄTE"


@pytest.mark.parametrize(
    "body", [b"", b"x", b"[]", b"{}", b'{"status": 3}', b'{"status": "SUCC', b"\xff\xfe", b'"status"']
)
def test_garbage_has_no_state(body: bytes) -> None:
    with pytest.raises(ContentError):
        state_of(Content())(body)


def test_a_document_that_celery_compressed_is_read(app: Any) -> None:
    base = pytest.importorskip("celery.backends.base")
    body = base.compress_payload(json.dumps(encode("id", "SUCCESS", "x" * 1000)).encode(), "zlib")
    assert state_of(app.content)(body) == "SUCCESS"


def test_what_we_compress_celery_reads(app: Any, theirs: Any) -> None:
    app.conf.result_compression = "zlib"
    record = app.backend.record("id", "SUCCESS", "x" * 1000)
    assert len(record.body) < 300
    assert theirs.decode_result(record.body)["result"] == "x" * 1000
    app.backend.store([record])
    assert app.backend.get_result("id") == "x" * 1000
