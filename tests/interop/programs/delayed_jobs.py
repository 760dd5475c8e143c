"""The apps of both kinds whose queues are quorum queues, and their tasks."""

from __future__ import annotations

import os
import sys
import time
from typing import Any

from celery import Celery

from umbel import Umbel


def settings(prefix: str, side: str, exchange_type: str) -> dict[str, Any]:
    """The configuration of an app whose tasks go to the queue of one side, ``ours`` or ``theirs``."""
    return {
        "task_default_queue": f"{prefix}-{side}",
        "task_default_exchange": f"{prefix}-{side}",
        "task_default_routing_key": f"{prefix}-{side}",
        "task_default_exchange_type": exchange_type,
        "task_default_queue_type": "quorum",
        "task_ignore_result": True,
        "broker_connection_retry_on_startup": True,
        "worker_hijack_root_logger": False,
        "worker_prefetch_multiplier": 1,
    }


def note(self: Any, word: str) -> None:
    """Write into the ledger when this ran, and by whom."""
    line = f"{type(self.app).__name__} {word} {time.time():.3f} {self.request.retries}\n"
    ledger = os.open(os.environ["DELAYED_LEDGER"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(ledger, line.encode())
    os.close(ledger)


def again(self: Any, word: str, times: int) -> None:
    """Write into the ledger, and try again after two seconds so many times."""
    note(self, word)
    if self.request.retries < times:
        raise self.retry(countdown=2, max_retries=times)


def make(kind: str, broker: str, prefix: str, side: str, exchange_type: str) -> Any:
    """An app of a kind, ``Umbel`` or ``Celery``, whose tasks go to the workers of a side."""
    changes = settings(prefix, side, exchange_type)
    app: Any = (Umbel if kind == "Umbel" else Celery)("delayed", broker=broker, changes=changes, set_as_current=False)
    for function in (note, again):
        app.task(name=f"delayed.{function.__name__}", bind=True)(function)
    return app


if "DELAYED_KIND" in os.environ and "delayed_jobs" in " ".join(sys.argv):
    app = make(
        os.environ["DELAYED_KIND"],
        os.environ["DELAYED_BROKER"],
        os.environ["DELAYED_PREFIX"],
        os.environ["DELAYED_SIDE"],
        os.environ["DELAYED_EXCHANGE"],
    )
