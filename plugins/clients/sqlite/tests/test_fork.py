"""A process that forks while it has connections."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from umbel_client_sqlite import Connection
from umbel_kernel.errors import OperationalError
from umbel_testkit.child import run_forked

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
COUNT = "SELECT count(*) FROM probe_row"
INSERT = "INSERT INTO probe_row VALUES (?)"


def run(connection: Connection, statement: str, *arguments: object) -> list[tuple[object, ...]]:
    return connection.execute_one(statement, arguments, time.monotonic() + 5, "use")


def test_the_parents_opens_again_and_the_childs_stays_closed(make: Callable[..., Connection]) -> None:
    connection = make()
    connection.open(time.monotonic() + 5)
    before = connection.data_version()
    run(connection, INSERT, b"parent")

    def child() -> None:
        assert not connection.is_open
        with pytest.raises(OperationalError, match="the connection is closed"):
            run(connection, COUNT)
        mine = make()
        mine.open(time.monotonic() + 5)
        run(mine, INSERT, b"child")
        mine.close()

    run_forked(child, within=20)
    assert connection.is_open
    assert run(connection, COUNT) == [(2,)]
    assert connection.data_version() != before


def test_the_file_is_gone_after_the_fork(make: Callable[..., Connection], path: Path) -> None:
    """A parent that took up another file of that name would write where nobody reads."""
    connection = make()
    connection.open(time.monotonic() + 5)

    def child() -> None:
        Path(path).rename(f"{path}.away")

    run_forked(child, within=20)
    with pytest.raises(OperationalError, match="it was deleted or replaced"):
        run(connection, COUNT)
    assert not connection.is_open


def test_a_fork_within_a_transaction_leaves_it_to_the_parent(make: Callable[..., Connection]) -> None:
    connection = make()
    connection.open(time.monotonic() + 5)
    with connection.transaction(time.monotonic() + 5, "write to") as sqlite:
        sqlite.execute(INSERT, (b"parent",))
        run_forked(lambda: None, within=20)
        sqlite.execute(INSERT, (b"parent",))
    assert run(connection, COUNT) == [(2,)]
