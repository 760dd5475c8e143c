"""Several threads, backends and processes on one store."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from umbel_kernel.spi.backend import Backend, BackendCapability
from umbel_testkit.backend.case import BackendCase, MakeBackend
from umbel_testkit.background import Background, together
from umbel_testkit.child import run_forked

NewIds = Callable[[int], list[str]]


class SharingSuite(BackendCase):
    """Several threads, backends and processes on one store."""

    def test_storing_from_several_threads(self, reader: Backend, writer: Backend, new_ids: NewIds) -> None:
        ids = new_ids(160)

        def worker(mine: list[str]) -> Callable[[], None]:
            def work() -> None:
                for task_id in mine:
                    writer.store([self.record(reader, task_id, "STARTED")])
                    writer.store([self.record(reader, task_id, "SUCCESS")])

            return work

        together([worker(ids[number::8]) for number in range(8)], within=self.patience * 2)
        self.states(reader, ids, ["SUCCESS"] * 160)

    def test_fetching_while_others_store(self, reader: Backend, writer: Backend, new_ids: NewIds) -> None:
        ids = new_ids(60)

        def store() -> int:
            for task_id in ids:
                writer.store([self.record(reader, task_id, "SUCCESS", task_id)])
            return len(ids)

        def fetch() -> int:
            left = set(ids)
            while left:
                found = reader.wait(sorted(left), timeout=self.patience)
                assert found, f"{len(left)} results did not come"
                assert all(task_id in record.body.decode() for task_id, record in found.items())
                left -= set(found)
            return len(ids)

        assert together([store, fetch, fetch, fetch], within=self.patience * 2) == [60] * 4

    def test_another_object_sees_results(self, reader: Backend, connect: MakeBackend, task_id: str) -> None:
        self.need(reader, BackendCapability.SHARED)
        reader.store([self.record(reader, task_id, "SUCCESS")])
        assert connect().fetch([task_id])[task_id].state == "SUCCESS"
        assert list(connect().wait([task_id], timeout=self.patience)) == [task_id]

    def test_another_object_may_forget(self, reader: Backend, connect: MakeBackend, task_id: str) -> None:
        self.need(reader, BackendCapability.SHARED)
        reader.store([self.record(reader, task_id, "SUCCESS")])
        connect().forget([task_id])
        assert reader.fetch([task_id]) == {}

    def test_results_outlive_the_connection(self, reader: Backend, connect: MakeBackend, task_id: str) -> None:
        self.need(reader, BackendCapability.PERSISTENT)
        self.need(reader, BackendCapability.SHARED)
        first = connect()
        first.store([self.record(reader, task_id, "SUCCESS")])
        first.close()
        assert connect().fetch([task_id])[task_id].state == "SUCCESS"

    @pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
    def test_a_forked_child_makes_its_own(self, reader: Backend, make_backend: MakeBackend, new_ids: NewIds) -> None:
        self.need(reader, BackendCapability.SHARED)
        theirs, mine = new_ids(2)
        reader.store([self.record(reader, mine, "STARTED")])
        record = self.record(reader, theirs, "SUCCESS", "from the child")
        waiting = Background(lambda: reader.wait([theirs], timeout=30.0))

        def child() -> None:
            backend = make_backend()
            backend.connect(timeout=self.patience)
            backend.store([record])
            backend.close()

        run_forked(child, within=self.patience)
        assert waiting.result(within=self.patience)[theirs].body == record.body
        reader.store([self.record(reader, mine, "SUCCESS")])
        self.states(reader, [theirs, mine], ["SUCCESS", "SUCCESS"])
