"""A broker that keeps messages as files in a directory."""

from __future__ import annotations

from umbel_broker_directory.broker import DirectoryBroker

__all__ = ["DirectoryBroker"]
