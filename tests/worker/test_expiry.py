"""A task that expires while it waits in the worker is not run."""

from __future__ import annotations

import time
from typing import Any

import pytest

from umbel.model.exceptions import TaskRevokedError


def test_a_task_that_expires_before_it_is_due_is_not_run(app: Any, running: Any) -> None:
    ran: list[str] = []
    note = app.task(name="note")(lambda word: ran.append(word))
    running(app)
    result = note.apply_async(("late",), countdown=0.3, expires=0.1)
    with pytest.raises(TaskRevokedError, match="expired"):
        result.get(timeout=10)
    assert ran == []


def test_a_task_that_expires_while_others_run_is_not_run(app: Any, running: Any) -> None:
    ran: list[str] = []

    @app.task(name="slow")
    def slow() -> None:
        time.sleep(0.2)
        ran.append("slow")

    note = app.task(name="note")(lambda word: ran.append(word))
    app.send_many([("slow", (), {}, {}) for _ in range(3)])
    result = note.apply_async(("late",), expires=0.3)
    running(app, pool="solo")
    with pytest.raises(TaskRevokedError, match="expired"):
        result.get(timeout=10)
    assert ran == ["slow"] * 3
