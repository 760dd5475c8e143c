"""What the backend suites share: fixtures, and ways to store and fetch."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar, TypeAlias

import pytest

from umbel_kernel.spi.backend import Backend, BackendCapability, Record
from umbel_testkit.backend.document import json_document
from umbel_testkit.waiting import eventually

MakeBackend: TypeAlias = Callable[[], Backend]


class BackendCase:
    """Fixtures and settings of the backend suites.

    ``reader`` plays the program that publishes tasks and waits for results, ``writer`` the worker.

    Attributes:
        patience: the most seconds to wait for what must happen.
        quiet: seconds to watch that something does not happen.
        brief: seconds that a record is kept in the tests of expiry; a store that counts whole seconds says 1.0.
    """

    patience: ClassVar[float] = 10.0
    quiet: ClassVar[float] = 0.3
    brief: ClassVar[float] = 0.5

    @pytest.fixture
    def make_backend(self) -> MakeBackend:
        """Each call makes a new, unconnected backend on one and the same store."""
        raise NotImplementedError("give your subclass a fixture make_backend that returns a function making a Backend")

    @pytest.fixture
    def make_unreachable(self) -> MakeBackend | None:
        """Makes a backend whose store cannot be reached and whose URL has a password; None for an embedded store."""
        return None

    @pytest.fixture
    def connect(self, make_backend: MakeBackend) -> Iterator[MakeBackend]:
        """Makes connected backends, closed after the test."""
        made: list[Backend] = []

        def connected() -> Backend:
            backend = make_backend()
            made.append(backend)
            backend.connect(timeout=self.patience)
            return backend

        yield connected
        for backend in made:
            backend.close()

    @pytest.fixture
    def reader(self, connect: MakeBackend) -> Backend:
        """The backend of the program that waits."""
        return connect()

    @pytest.fixture
    def writer(self, connect: MakeBackend) -> Backend:
        """The backend of the worker that stores."""
        return connect()

    @pytest.fixture
    def new_ids(self, reader: Backend) -> Iterator[Callable[[int], list[str]]]:
        """Makes task ids that the reader expects results of; forgotten after the test."""
        made: list[str] = []

        def new(count: int) -> list[str]:
            ids = [str(uuid.uuid4()) for _ in range(count)]
            made.extend(ids)
            reader.expect(ids)
            return ids

        yield new
        if made and BackendCapability.REPLY_TO not in reader.capabilities:
            reader.forget(made)

    @pytest.fixture
    def task_id(self, new_ids: Callable[[int], list[str]]) -> str:
        """One task id."""
        return new_ids(1)[0]

    @staticmethod
    def need(backend: Backend, capability: BackendCapability) -> None:
        """Skip a test of something that this backend does not claim."""
        if capability not in backend.capabilities:
            pytest.skip(f"{type(backend).__name__} does not declare {capability.name}")

    @staticmethod
    def record(
        reader: Backend, task_id: str, state: str, result: Any = None, *, expires: float | None = 600.0, fence: int = 0
    ) -> Record:
        """What a worker stores about a task that this reader published."""
        body = json_document(task_id, state, result, fence)
        return Record(task_id, state, body, expires=expires, reply_to=reader.reply_to, fence=fence)

    def known(self, reader: Backend, *task_ids: str, states: Sequence[str] | None = None) -> dict[str, Record]:
        """Fetch, and wait for what a ``REPLY_TO`` backend still has on its way until ``states`` are there."""
        found = reader.fetch(task_ids)
        if BackendCapability.REPLY_TO not in reader.capabilities or states is None:
            return found

        def arrived() -> bool:
            nonlocal found
            found = reader.fetch(task_ids)
            return [found[task_id].state if task_id in found else "" for task_id in task_ids] == list(states)

        eventually(arrived, within=self.patience, what=f"the states {', '.join(states)}")
        return found

    def states(self, reader: Backend, task_ids: Sequence[str], expected: Sequence[str]) -> None:
        """Check that these are the states."""
        found = self.known(reader, *task_ids, states=expected)
        assert [found[task_id].state if task_id in found else None for task_id in task_ids] == list(expected)
