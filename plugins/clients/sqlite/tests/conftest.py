"""Connections to a file of this test's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from umbel_client_sqlite import Connection, Schema
from umbel_kernel.errors import BackendError

SCHEMA = Schema(
    prefix="probe",
    version=3,
    statements=("CREATE TABLE IF NOT EXISTS probe_row (body BLOB)",),
    holds="probes",
    reader="umbel-probe",
    advice="ask who wrote them",
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "x.db"


@pytest.fixture
def make(path: Path) -> Iterator[Callable[..., Connection]]:
    """Makes connections that are not yet open: of ``file`` (``x.db``) and ``schema``."""
    made: list[Connection] = []

    def new(file: Path = path, schema: Schema = SCHEMA, synchronous: str = "NORMAL") -> Connection:
        connection = Connection(str(file), schema, synchronous=synchronous, checkpoint_pages=1000, refusal=BackendError)
        made.append(connection)
        return connection

    yield new
    for connection in made:
        connection.close()
