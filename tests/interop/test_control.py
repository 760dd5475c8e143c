"""Remote control across the two sides."""

from __future__ import annotations

from typing import Any

import pytest


def test_a_revoked_task_is_not_run(pair: Any) -> None:
    word, there = pair.word(), [pair.fleet.hostname(pair.side)]
    result = pair.task("note").apply_async((word,), countdown=2)
    pair.app.control.revoke(result.id, destination=there)
    with pytest.raises(pair.exceptions.TaskRevokedError, match="revoked"):
        result.get(timeout=20)
    assert not pair.fleet.lines(word)


def test_a_running_task_is_ended(pair: Any, wait_until: Any) -> None:
    word, there = pair.word(), [pair.fleet.hostname(pair.side)]
    result = pair.task("nap").delay(60, word)
    wait_until(lambda: pair.fleet.lines("nap", word))
    pair.app.control.revoke(result.id, terminate=True, signal="SIGKILL", destination=there)
    with pytest.raises(pair.exceptions.TaskRevokedError, match="terminated"):
        result.get(timeout=20)
    # The worker has two slots as before.
    assert pair.canvas.group(pair.task("add").s(n) for n in range(4))().get(timeout=20) == [0, 1, 2, 3]


def test_celery_pings_a_worker_of_umbel(pair: Any) -> None:
    if pair.client != "celery":
        pytest.skip("the client of umbel does not wait for answers yet")
    name = pair.fleet.hostname("ours")
    assert pair.app.control.ping(destination=[name], timeout=10, limit=1) == [{name: {"ok": "pong"}}]
    answers = pair.app.control.revoke("never-sent", destination=[name], reply=True, timeout=10, limit=1)
    assert "revoked" in answers[0][name]["ok"]
    answers = pair.app.control.broadcast("active_queues", destination=[name], reply=True, timeout=10, limit=1)
    assert "knows no command 'active_queues'" in answers[0][name]["error"]


def test_the_workers_bear_each_other(fleet: Any) -> None:
    for name in ("ours", "theirs"):
        lines = fleet.log(name).read_text().splitlines()
        assert not [line for line in lines if "CRITICAL" in line or ("mingle: sync with" in line and "failed" in line)]
