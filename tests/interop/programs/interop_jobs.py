"""The tasks that workers of both kinds run, as plain functions, and the settings that both share."""

from __future__ import annotations

import os
import sys
import time
from datetime import UTC, datetime
from typing import Any

from kombu import Exchange, Queue


class OutOfStock(Exception):
    """An error that both sides know."""

    def __init__(self, item: str, wanted: int) -> None:
        super().__init__(item, wanted)
        self.item = item
        self.wanted = wanted


def settings(prefix: str, side: str) -> dict[str, Any]:
    """The configuration of an app whose tasks go to the workers of one side, ``ours`` or ``theirs``."""
    news = Exchange(f"{prefix}-news", type="topic")
    shop = Exchange(f"{prefix}-shop", type="direct")
    names = ("ours", "theirs", "both", "leaving", "killed", "theirs-killed", "parked")
    queues = [Queue(f"{prefix}-{name}", Exchange(""), routing_key=f"{prefix}-{name}") for name in names]
    for name in ("ours", "theirs"):
        queues.append(Queue(f"{prefix}-news-{name}", news, routing_key=f"{name}.#"))
        queues.append(Queue(f"{prefix}-shop-{name}", shop, routing_key=f"{name}.orders"))
    return {
        "task_queues": queues,
        "task_default_queue": f"{prefix}-{side}",
        "task_default_exchange": "",
        "task_default_routing_key": f"{prefix}-{side}",
        "task_create_missing_queues": False,
        "result_expires": 300,
        "result_extended": True,
        "broker_connection_retry_on_startup": True,
        "broker_transport_options": _transport_options(),
        "worker_prefetch_multiplier": 4,
        "worker_hijack_root_logger": False,
    }


def _transport_options() -> dict[str, Any]:
    seconds = os.environ.get("INTEROP_VISIBILITY")
    return {"visibility_timeout": float(seconds)} if seconds else {}


def write(self: Any, *words: Any) -> None:
    """Add a line to the ledger: which side it is, and the words."""
    line = " ".join([type(self.app).__name__, *map(str, words)])
    ledger = os.open(os.environ["INTEROP_LEDGER"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(ledger, f"{line}\n".encode())
    os.close(ledger)


def add(self: Any, x: Any, y: Any = 0) -> Any:
    """A sum."""
    return x + y


def total(self: Any, numbers: list[Any]) -> Any:
    """The sum of a list."""
    return sum(numbers)


def echo(self: Any, value: Any) -> Any:
    """What was given, and of which type it was."""
    return [type(value).__name__, value]


def fail(self: Any, item: str = "tea", wanted: int = 3) -> None:
    """Raise an error that both sides know."""
    raise OutOfStock(item, wanted)


def fail_strangely(self: Any) -> None:
    """Raise an error that the caller does not know."""
    raise sys.modules["interop_hidden"].Unheard("of")


def flaky(self: Any, times: int) -> int:
    """Succeed after so many retries."""
    if self.request.retries < times:
        raise self.retry(countdown=0.05, max_retries=times)
    return self.request.retries


def give_up(self: Any) -> None:
    """Retry until there are no attempts left."""
    raise self.retry(exc=OutOfStock("patience", self.request.retries), countdown=0, max_retries=1)


def about(self: Any) -> dict[str, Any]:
    """What this task knows of its request."""
    request = self.request
    info = request.delivery_info or {}
    return {
        "side": type(self.app).__name__,
        "id": request.id,
        "root_id": request.root_id,
        "priority": info.get("priority"),
        "routing_key": info.get("routing_key"),
        "tenant": getattr(request, "tenant", None),
        "at": datetime.now(UTC),
    }


def note(self: Any, *words: Any) -> Any:
    """Write into the ledger; returns the last word."""
    write(self, *words)
    return words[-1] if words else None


def regret(request: Any, exc: BaseException, traceback: Any, word: str = "") -> None:
    """An errback that is called with the request of the task that failed."""
    write(_Here(), "regret", word, type(exc).__name__, request.id)


def regret_by_id(self: Any, task_id: str) -> None:
    """An errback that is sent with the id of the task that failed."""
    write(self, "regret-by-id", task_id)


class _Here:
    """Stands for a task where none is at hand."""

    app: Any = None


def spawn(self: Any) -> str:
    """Send a task; returns its id."""
    queue = self.app.conf.task_default_queue
    return str(self.app.send_task("jobs.add", (20, 3), queue=queue).id)


def nap(self: Any, seconds: float, word: str) -> str:
    """Take some time, after a note."""
    write(self, "nap", word)
    time.sleep(seconds)
    return word


def hold(self: Any, number: int) -> int:
    """Never end in a worker of umbel; end at once in one of Celery."""
    write(self, "hold", number)
    if type(self.app).__name__ == "Umbel":
        time.sleep(600)
    return number


BOUND = (add, total, echo, fail, fail_strangely, flaky, give_up, about, note, regret_by_id, spawn, nap)
FREE = (regret,)
LATE = (hold,)


def register(app: Any, **options: Any) -> None:
    """Make tasks of all of them."""
    _Here.app = app
    for function in BOUND:
        app.task(name=f"jobs.{function.__name__}", bind=True, **options)(function)
    for function in FREE:
        app.task(name=f"jobs.{function.__name__}", **options)(function)
    for function in LATE:
        app.task(name=f"jobs.{function.__name__}", bind=True, acks_late=True, **options)(function)
