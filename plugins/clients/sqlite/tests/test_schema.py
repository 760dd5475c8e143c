"""Tables of several users in one file, and versions of them that this one does not read."""

from __future__ import annotations

import dataclasses
import sqlite3
import time
from collections.abc import Callable

import pytest

from umbel_client_sqlite import Connection, Schema
from umbel_kernel.errors import ConfigurationError

FIRST = Schema(
    prefix="first",
    version=3,
    statements=(
        "CREATE TABLE IF NOT EXISTS first_row (x)",
        "INSERT OR IGNORE INTO first_meta VALUES ('colour', 'blue')",
    ),
    holds="probes",
    reader="umbel-probe",
    advice="ask who wrote them",
)
SECOND = dataclasses.replace(FIRST, prefix="second", statements=("CREATE TABLE IF NOT EXISTS second_row (x)",))


def open_as(make: Callable[..., Connection], schema: Schema) -> Connection:
    connection = make(schema=schema)
    connection.open(time.monotonic() + 5)
    return connection


def test_each_user_makes_its_own_tables_once(make: Callable[..., Connection]) -> None:
    for schema in (FIRST, SECOND, FIRST, SECOND):
        connection = open_as(make, schema)
        with connection.transaction(time.monotonic() + 5, "write to") as sqlite:
            sqlite.execute(f"INSERT INTO {schema.prefix}_row VALUES (1)")
    with connection.reading("test") as sqlite:
        assert sqlite.execute("SELECT name, value FROM first_meta ORDER BY name").fetchall() == [
            ("colour", "blue"),
            ("version", 3),
        ]
        assert sqlite.execute("SELECT name, value FROM second_meta").fetchall() == [("version", 3)]
        assert sqlite.execute("SELECT count(*) FROM first_row").fetchone() == (2,)
        assert sqlite.execute("SELECT count(*) FROM second_row").fetchone() == (2,)


def test_two_that_make_them_at_once_make_them_once() -> None:
    sqlite = sqlite3.connect(":memory:", isolation_level=None)
    assert not FIRST.is_in(sqlite, "x.db")
    FIRST.create(sqlite)
    FIRST.create(sqlite)
    assert FIRST.is_in(sqlite, "x.db")
    assert sqlite.execute("SELECT count(*) FROM first_meta").fetchone() == (2,)
    sqlite.close()


def test_another_version(make: Callable[..., Connection]) -> None:
    open_as(make, FIRST)
    with pytest.raises(
        ConfigurationError,
        match=r"x\.db holds probes of version 3, and this umbel-probe reads version 4; ask who wrote them, or name",
    ):
        open_as(make, dataclasses.replace(FIRST, version=4))
