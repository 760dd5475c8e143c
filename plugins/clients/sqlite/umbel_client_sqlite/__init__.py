"""What everything of umbel that keeps its data in an SQLite file stands on; no plugin itself."""

from __future__ import annotations

from umbel_client_sqlite.connection import Connection
from umbel_client_sqlite.doorbell import Doorbell, Ringer
from umbel_client_sqlite.location import file_of
from umbel_client_sqlite.schema import Schema
from umbel_client_sqlite.settings import value_of

__all__ = ["Connection", "Doorbell", "Ringer", "Schema", "file_of", "value_of"]
