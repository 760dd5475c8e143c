"""Groups."""

from __future__ import annotations

import uuid

import pytest

from umbel_kernel.errors import NotSupported
from umbel_kernel.spi.backend import Backend, BackendCapability
from umbel_testkit.backend.case import BackendCase
from umbel_testkit.waiting import eventually


class GroupSuite(BackendCase):
    """Groups."""

    def test_a_group_comes_back_and_goes(self, reader: Backend, writer: Backend) -> None:
        self.need(reader, BackendCapability.GROUPS)
        first, second = str(uuid.uuid4()), str(uuid.uuid4())
        writer.store_group(first, b'{"result": ["\xc5\xbe"]}', expires=600.0)
        writer.store_group(second, b"[]", expires=None)
        assert reader.fetch_group(first) == b'{"result": ["\xc5\xbe"]}'
        assert reader.fetch_group(second) == b"[]"
        reader.forget_group(first)
        assert reader.fetch_group(first) is None
        assert reader.fetch_group(second) == b"[]"
        reader.forget_group(second)
        reader.forget_group(second)

    def test_a_group_not_there_is_none(self, reader: Backend) -> None:
        self.need(reader, BackendCapability.GROUPS)
        assert reader.fetch_group(str(uuid.uuid4())) is None
        reader.forget_group(str(uuid.uuid4()))

    def test_a_group_stored_again_is_replaced(self, reader: Backend) -> None:
        self.need(reader, BackendCapability.GROUPS)
        group_id = str(uuid.uuid4())
        reader.store_group(group_id, b"old", expires=600.0)
        reader.store_group(group_id, b"new", expires=600.0)
        assert reader.fetch_group(group_id) == b"new"
        reader.forget_group(group_id)

    def test_groups_and_tasks_are_kept_apart(self, reader: Backend, task_id: str) -> None:
        self.need(reader, BackendCapability.GROUPS)
        reader.store_group(task_id, b"the group", expires=600.0)
        assert reader.fetch([task_id]) == {}
        reader.store([self.record(reader, task_id, "SUCCESS")])
        assert reader.fetch_group(task_id) == b"the group"
        reader.forget_group(task_id)
        self.states(reader, [task_id], ["SUCCESS"])

    def test_an_expired_group_is_gone(self, reader: Backend) -> None:
        self.need(reader, BackendCapability.GROUPS)
        group_id = str(uuid.uuid4())
        reader.store_group(group_id, b"brief", expires=self.brief)
        assert reader.fetch_group(group_id) == b"brief"

        def gone() -> bool:
            reader.cleanup()
            return reader.fetch_group(group_id) is None

        eventually(gone, within=self.brief + self.patience, what="an expired group to go")

    def test_groups_are_refused_when_not_claimed(self, reader: Backend) -> None:
        if BackendCapability.GROUPS in reader.capabilities:
            pytest.skip(f"{type(reader).__name__} declares GROUPS")
        with pytest.raises(NotSupported):
            reader.store_group("group", b"", expires=None)
        with pytest.raises(NotSupported):
            reader.fetch_group("group")
        with pytest.raises(NotSupported):
            reader.forget_group("group")
