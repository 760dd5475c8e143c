"""An adapter that makes any kombu transport a broker."""

from __future__ import annotations

from umbel_broker_kombu.broker import KombuBroker

__all__ = ["KombuBroker"]
