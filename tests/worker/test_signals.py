"""A worker sends every signal with its arguments, on each pool."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.worker.test_shutdown import Place, place
from umbel import signals
from umbel.app.outbox import Outgoing
from umbel.model.exceptions import Retry
from umbel_kernel.spi.message import Message

__all__ = ["place"]

MORE = """
    import json
    from umbel import signals
    from umbel.model.signal import Signal

    def heard(signal, sender, **given):
        facts = {{name: value if isinstance(value, (bool, int, str, type(None))) else repr(value)[:200] for name, value in given.items()}}
        if "request" in given:
            facts["request"] = getattr(given["request"], "id", "no id")
        if "einfo" in given:
            facts["einfo"] = given["einfo"].traceback
        line = json.dumps([signal.name, getattr(sender, "name", None) or type(sender).__name__, facts, os.getpid()])
        with open("{folder}/heard", "a") as file:
            print(line, file=file)

    for found in list(vars(signals).values()):
        if isinstance(found, Signal) and found.name != "setup_logging":
            found.connect(heard, weak=False)

    @app.task(name="fail")
    def fail():
        raise LookupError("on purpose")

    @app.task(name="again", bind=True, default_retry_delay=0)
    def again(self):
        if not self.request.retries:
            raise self.retry(exc=LookupError("the first time"))

    @app.task(name="broken", throws=("no class",))
    def broken():
        raise LookupError("nobody can tell")
"""  # noqa: E501

ALWAYS = {
    "celeryd_init", "celeryd_after_setup", "import_modules", "worker_init", "worker_ready", "worker_shutting_down",
    "worker_shutdown", "after_setup_logger", "after_setup_task_logger", "user_preload_options", "heartbeat_sent",
    "task_received", "task_prerun", "task_postrun", "task_success", "task_failure", "task_retry", "task_unknown",
    "task_rejected", "task_revoked", "task_internal_error", "before_task_publish", "after_task_publish", "task_sent",
}  # fmt: skip
GREEN = {"eventlet_pool_started", "eventlet_pool_apply", "eventlet_pool_preshutdown", "eventlet_pool_postshutdown"}
POOLS = {
    "prefork": {"worker_before_create_process", "worker_process_init", "worker_process_shutdown"},
    "solo": {"worker_process_init"},
    "threads": set(),
    "asyncio": set(),
    "gevent": GREEN,
    "eventlet": GREEN,
}
QUICK = ("prefork",)


@pytest.mark.parametrize(
    "pool", [pool if pool in QUICK else pytest.param(pool, marks=pytest.mark.slow) for pool in POOLS]
)
def test_every_signal_is_sent_with_its_arguments(place: Place, pool: str) -> None:
    path = place.folder / "ends.py"
    path.write_text(path.read_text() + MORE.replace("\n    ", "\n").format(folder=place.folder))
    place.app.send_task("late", (1, 0), expires=-1)
    place.app.send_task("nobody")
    place.app.publisher.publish([_garbage(place.app)])
    worker = place.start("-P", pool, "-c", "1")
    results = [place.app.send_task(name, args) for name, args in (("late", (2, 0)), ("fail", ()), ("again", ()))]
    assert results[0].get(timeout=30) == 2, place.log()
    assert isinstance(results[1].get(timeout=30, propagate=False), LookupError)
    results[2].get(timeout=30)
    assert isinstance(place.app.send_task("broken").get(timeout=30, propagate=False), Exception)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(timeout=30) == 0, place.log()
    found: dict[str, list[Any]] = {}
    for line in (place.folder / "heard").read_text().splitlines():
        name, sender, facts, pid = json.loads(line)
        found.setdefault(name, []).append((sender, facts, pid))
    assert set(found) == ALWAYS | POOLS[pool], set(found) ^ (ALWAYS | POOLS[pool])
    for name, sent in found.items():
        for _, facts, _ in sent:
            assert set(facts) >= getattr(signals, name).providing_args, name

    def of(name: str) -> dict[str, Any]:
        return dict(found[name][0][1])

    assert of("task_revoked") | {"request": ""} == {"request": "", "terminated": False, "signum": None, "expired": True}
    assert of("task_unknown")["name"] == "nobody"
    assert of("task_failure")["exception"] == "LookupError('on purpose')"
    assert "on purpose" in of("task_failure")["einfo"]
    assert of("task_retry")["reason"].startswith(Retry.__name__)
    assert of("task_retry")["request"] == results[2].id
    assert [facts["state"] for _, facts, _ in found["task_postrun"]] == [
        "SUCCESS", "FAILURE", "RETRY", "SUCCESS",
    ]  # fmt: skip
    assert of("task_internal_error")["exception"].startswith("TypeError")
    assert {name: found["worker_shutting_down"][0][1][name] for name in ("sig", "how", "exitcode")} == {
        "sig": "SIGTERM", "how": "Warm", "exitcode": 0,
    }  # fmt: skip
    assert found["worker_shutdown"][0][0] == "Worker"
    inside = {pid for _, _, pid in found["task_prerun"]}
    assert inside == ({found["worker_process_init"][0][2]} if pool == "prefork" else {worker.pid})


def _garbage(app: Any) -> Any:
    return Outgoing(Message(b"?", app.conf.task_default_queue, headers={}), app.queues[app.conf.task_default_queue])


def test_a_task_that_is_ended_tells_by_which_signal(place: Place, tmp_path: Path) -> None:
    path = place.folder / "ends.py"
    path.write_text(path.read_text() + MORE.replace("\n    ", "\n").format(folder=place.folder))
    result = place.app.send_task("late", (1, 60))
    place.start("-P", "prefork", "-c", "1")
    place.wait(place.notes, "the task")
    place.app.control.revoke(result.id, terminate=True, signal="SIGKILL")
    place.wait(lambda: "task_revoked" in (place.folder / "heard").read_text(), "the signal", 25)
    heard = [json.loads(line) for line in (place.folder / "heard").read_text().splitlines()]
    sent = [facts for name, _, facts, _ in heard if name == "task_revoked"]
    assert sent == [{"request": result.id, "terminated": True, "signum": 9, "expired": False}]
    assert "task_failure" not in {name for name, *_ in heard}
