"""Storing, fetching, forgetting and expiry."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from umbel_kernel.spi.backend import Backend, BackendCapability
from umbel_testkit.backend.case import BackendCase
from umbel_testkit.backend.document import json_document
from umbel_testkit.waiting import eventually

RESULTS = {
    "none": None,
    "text": "příliš žluťoučký kůň 🐎",
    "nested": {"list": [1, 2.5, None, True, {"big": 2**70}]},
    "one megabyte": "x" * 1_000_000,
}
NewIds = Callable[[int], list[str]]


class StoringSuite(BackendCase):
    """Storing, fetching, forgetting and expiry."""

    @pytest.mark.parametrize("result", RESULTS.values(), ids=RESULTS)
    def test_a_record_comes_back(self, reader: Backend, writer: Backend, task_id: str, result: Any) -> None:
        writer.store([self.record(reader, task_id, "SUCCESS", result)])
        found = self.known(reader, task_id, states=["SUCCESS"])
        assert list(found) == [task_id]
        record = found[task_id]
        assert (record.task_id, record.state) == (task_id, "SUCCESS")
        assert (record.content_type, record.content_encoding) == ("application/json", "utf-8")
        assert type(record.body) is bytes
        assert record.body == json_document(task_id, "SUCCESS", result), "the document came back changed"

    def test_what_is_not_known_is_left_out(self, reader: Backend, writer: Backend, new_ids: NewIds) -> None:
        there, missing = new_ids(2)
        writer.store([self.record(reader, there, "FAILURE")])
        self.states(reader, [there], ["FAILURE"])
        assert list(reader.fetch([missing, there, str(uuid.uuid4())])) == [there]
        assert reader.fetch([missing]) == {}

    def test_nothing_is_harmless(self, reader: Backend) -> None:
        reader.store([])
        reader.forget([])
        assert reader.fetch([]) == {}
        assert reader.wait([], timeout=0) == {}

    def test_a_batch_is_kept(self, reader: Backend, writer: Backend, new_ids: NewIds) -> None:
        ids = new_ids(300)
        writer.store([self.record(reader, task_id, "SUCCESS", number) for number, task_id in enumerate(ids)])
        found = self.known(reader, *ids, states=["SUCCESS"] * 300)
        assert [found[task_id].body for task_id in ids] == [json_document(i, "SUCCESS", n) for n, i in enumerate(ids)]

    def test_a_batch_keeps_its_order(self, reader: Backend, writer: Backend, new_ids: NewIds) -> None:
        first, second = new_ids(2)
        writer.store(
            [
                self.record(reader, first, "STARTED"),
                self.record(reader, second, "STARTED"),
                self.record(reader, first, "RETRY"),
                self.record(reader, second, "SUCCESS"),
            ]
        )
        self.states(reader, [first, second], ["RETRY", "SUCCESS"])

    def test_a_later_record_replaces_an_earlier(self, reader: Backend, writer: Backend, task_id: str) -> None:
        for state in ("STARTED", "RETRY", "FAILURE", "STARTED", "PROGRESS", "REVOKED", "SUCCESS"):
            writer.store([self.record(reader, task_id, state, f"of {state}")])
            self.states(reader, [task_id], [state])
        assert reader.fetch([task_id])[task_id].body == json_document(task_id, "SUCCESS", "of SUCCESS")

    @pytest.mark.parametrize("state", ["FAILURE", "STARTED", "RETRY", "REVOKED"])
    def test_the_first_success_stays(self, reader: Backend, writer: Backend, task_id: str, state: str) -> None:
        writer.store([self.record(reader, task_id, "SUCCESS", "kept")])
        self.states(reader, [task_id], ["SUCCESS"])
        writer.store([self.record(reader, task_id, state, "must not replace it")])
        self._settled(reader, writer)
        assert reader.fetch([task_id])[task_id].body == json_document(task_id, "SUCCESS", "kept")

    def test_the_first_success_stays_within_a_batch(self, reader: Backend, writer: Backend, task_id: str) -> None:
        success, failure = self.record(reader, task_id, "SUCCESS", "kept"), self.record(reader, task_id, "FAILURE")
        writer.store([success, failure])
        self._settled(reader, writer)
        assert reader.fetch([task_id])[task_id].body == json_document(task_id, "SUCCESS", "kept")

    def test_a_lower_fence_comes_too_late(self, reader: Backend, writer: Backend, task_id: str) -> None:
        self.need(writer, BackendCapability.FENCE)

        def store(fence: int, state: str, said: str) -> None:
            writer.store([self.record(reader, task_id, state, said, fence=fence)])

        store(3, "STARTED", "by the second")
        store(2, "SUCCESS", "by the first, too late")
        store(0, "FAILURE", "by one before, too late")
        assert self._said(reader, task_id) == ("STARTED", "by the second")
        store(3, "RETRY", "by the second")
        assert self._said(reader, task_id) == ("RETRY", "by the second")
        store(1 << 40, "FAILURE", "by the third")
        store((1 << 40) - 1, "SUCCESS", "too late")
        assert self._said(reader, task_id) == ("FAILURE", "by the third")
        store((1 << 40) + 1, "SUCCESS", "by the fourth")
        store((1 << 40) + 2, "FAILURE", "no first success")
        assert self._said(reader, task_id) == ("SUCCESS", "by the fourth")

    def test_a_lower_fence_comes_too_late_within_a_batch(
        self, reader: Backend, writer: Backend, new_ids: NewIds
    ) -> None:
        self.need(writer, BackendCapability.FENCE)
        late, fine = new_ids(2)
        writer.store(
            [
                self.record(reader, late, "FAILURE", "by the second", fence=2),
                self.record(reader, late, "SUCCESS", "too late", fence=1),
                self.record(reader, fine, "FAILURE", "by the first", fence=1),
                self.record(reader, fine, "SUCCESS", "by the second", fence=2),
            ]
        )
        assert self._said(reader, late) == ("FAILURE", "by the second")
        assert self._said(reader, fine) == ("SUCCESS", "by the second")

    def test_a_fence_goes_with_its_record(self, reader: Backend, writer: Backend, task_id: str) -> None:
        self.need(writer, BackendCapability.FENCE)
        writer.store([self.record(reader, task_id, "FAILURE", fence=5)])
        reader.forget([task_id])
        writer.store([self.record(reader, task_id, "SUCCESS", "anew")])
        assert self._said(reader, task_id) == ("SUCCESS", "anew")

    @staticmethod
    def _said(reader: Backend, task_id: str) -> tuple[str, Any]:
        record = reader.fetch([task_id])[task_id]
        return record.state, json.loads(record.body)["result"]

    def _settled(self, reader: Backend, writer: Backend) -> None:
        """Wait until all that was stored so far has reached the reader: what is stored after it has."""
        marker = str(uuid.uuid4())
        reader.expect([marker])
        writer.store([self.record(reader, marker, "SUCCESS")])
        self.states(reader, [marker], ["SUCCESS"])

    def test_storing_again_is_harmless(self, reader: Backend, writer: Backend, task_id: str) -> None:
        record = self.record(reader, task_id, "SUCCESS", "same")
        writer.store([record])
        writer.store([record, record])
        self.states(reader, [task_id], ["SUCCESS"])
        assert reader.fetch([task_id])[task_id].body == record.body

    def test_forget_drops_ready_and_not_ready(self, reader: Backend, writer: Backend, new_ids: NewIds) -> None:
        ready, running, kept = new_ids(3)
        writer.store([self.record(reader, ready, "SUCCESS"), self.record(reader, running, "STARTED")])
        writer.store([self.record(reader, kept, "SUCCESS")])
        self.states(reader, [ready, running, kept], ["SUCCESS", "STARTED", "SUCCESS"])
        reader.forget([ready, running, str(uuid.uuid4())])
        assert list(reader.fetch([ready, running, kept])) == [kept]
        reader.forget([ready])

    def test_after_forget_any_state_is_kept(self, reader: Backend, writer: Backend, task_id: str) -> None:
        writer.store([self.record(reader, task_id, "SUCCESS")])
        self.states(reader, [task_id], ["SUCCESS"])
        reader.forget([task_id])
        reader.expect([task_id])
        writer.store([self.record(reader, task_id, "STARTED")])
        self.states(reader, [task_id], ["STARTED"])

    def test_what_has_expired_is_gone(self, reader: Backend, writer: Backend, new_ids: NewIds) -> None:
        if BackendCapability.REPLY_TO in reader.capabilities and BackendCapability.EXPIRES not in reader.capabilities:
            pytest.skip(f"{type(reader).__name__} has results on their way and keeps none")
        brief, longer, forever = new_ids(3)
        writer.store(
            [
                self.record(reader, brief, "SUCCESS", expires=self.brief),
                self.record(reader, longer, "SUCCESS", expires=600.0),
                self.record(reader, forever, "SUCCESS", expires=None),
            ]
        )
        assert brief in reader.fetch([brief])
        dropped = 0

        def gone() -> bool:
            nonlocal dropped
            if BackendCapability.EXPIRES not in writer.capabilities:
                dropped += writer.cleanup()
            return brief not in reader.fetch([brief])

        eventually(gone, within=self.brief + self.patience, what="an expired record to go")
        assert set(reader.fetch([brief, longer, forever])) == {longer, forever}
        if BackendCapability.EXPIRES not in writer.capabilities:
            assert dropped >= 1

    def test_cleanup_leaves_what_has_not_expired(self, reader: Backend, writer: Backend, task_id: str) -> None:
        writer.store([self.record(reader, task_id, "SUCCESS", expires=None)])
        self.states(reader, [task_id], ["SUCCESS"])
        dropped = writer.cleanup()
        assert isinstance(dropped, int) and dropped >= 0
        self.states(reader, [task_id], ["SUCCESS"])
