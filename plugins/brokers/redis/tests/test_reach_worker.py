"""Real workers and producers on servers that are reached in every way, whose master dies, and that have no room."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import Celery

from umbel import Umbel
from umbel.exceptions import OperationalError
from umbel_testkit.waiting import eventually

MODULE = """
    import json, time
    from umbel import Umbel

    app = Umbel("reach")
    app.conf.update(json.loads(open("settings.json").read()))

    @app.task(name="note")
    def note(number, seconds=0.0):
        time.sleep(seconds)
        with open("notes", "a") as file:
            print(number, file=file)
        return number
"""
READMES = [Path(__file__).parents[3] / kind / "redis" / "README.md" for kind in ("brokers", "backends")]
SECRET = "seecret"


class Place:
    """A worker as a process, and an app with the same settings here."""

    def __init__(self, folder: Path, pool: str, settings: dict[str, Any]) -> None:
        self.folder = folder
        (folder / "reach.py").write_text(textwrap.dedent(MODULE))
        (folder / "settings.json").write_text(json.dumps(settings))
        self.app = Umbel("client", set_as_current=False)
        self.app.conf.update(settings)
        command = [sys.executable, "-m", "umbel", "-q", "-A", "reach", "worker", "-c", "2", "-P", pool, "-l", "WARNING"]
        with open(folder / "log", "ab") as log:
            self.worker = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)

    def send(self, *numbers: int, seconds: float = 0.0) -> list[Any]:
        return [self.app.send_task("note", (number, seconds)) for number in numbers]

    def notes(self) -> Counter[int]:
        path = self.folder / "notes"
        return Counter(map(int, path.read_text().split())) if path.exists() else Counter()

    def log(self) -> str:
        return (self.folder / "log").read_text()

    def wait(self, done: Callable[[], Any], what: str, seconds: float = 20) -> None:
        end = time.monotonic() + seconds
        while not done():
            assert self.worker.poll() is None, f"the worker ended: {self.log()[-3000:]}"
            assert time.monotonic() < end, f"{what} did not happen: {self.notes()}\n{self.log()[-3000:]}"
            time.sleep(0.02)

    def close(self) -> None:
        self.worker.terminate()
        try:
            self.worker.wait(timeout=15)
        finally:
            self.worker.kill()
            self.app.close()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Callable[..., Place]]:
    made: list[Place] = []

    def make(pool: str = "threads", **settings: Any) -> Place:
        made.append(Place(tmp_path, pool, settings))
        return made[-1]

    yield make
    for each in made:
        each.close()


def answers(**settings: Any) -> bool:
    """Whether a worker answers when Celery asks; what is asked before the worker listens reaches nobody."""
    theirs = Celery("probe")
    theirs.conf.update(settings)
    try:
        return any(theirs.control.ping(timeout=2, limit=1) for _ in range(15))
    finally:
        theirs.close()


def test_a_master_that_dies_under_load(place: Callable[..., Place], start_sentinels: Callable[..., Any]) -> None:
    group = start_sentinels(password=SECRET)
    options = {
        "master_name": "mymaster",
        "sentinel_kwargs": {"password": f"sentinel-{SECRET}"},
        "global_keyprefix": "p.",
    }
    made = place(
        broker_url=group.url,
        result_backend=group.url,
        broker_transport_options={**options, "lease": 3.0},
        result_backend_transport_options=options,
        task_acks_late=True,
        broker_connection_timeout=2.0,
    )
    results = made.send(*range(100), seconds=0.02)
    made.wait(lambda: len(made.notes()) >= 10, "a start")
    master = group.master()
    heir = next(each for each in group.servers if each is not master)

    def offset(server: Any) -> str:
        return re.search(r"master_repl_offset:(\d+)", group.ask(server, "info", "replication"))[1]

    group.wait(lambda: offset(heir) == offset(master), "the replica did not keep up")
    master.stop()
    sent: list[int] = []

    def send(number: int) -> bool:
        try:
            results.extend(made.send(number))
        except OperationalError:
            return False
        sent.append(number)
        return True

    for number in range(100, 120):
        eventually(lambda number=number: send(number), within=30, what="a master that takes tasks")
    values = [result.get(timeout=30) for result in results]
    assert values == [*range(100), *sent]
    assert made.notes().keys() >= set(range(120))
    assert sum(count - 1 for count in made.notes().values()) <= 10, "what had ended did not run again"
    assert len(made.log().splitlines()) < 60
    assert SECRET not in made.log()


def test_users_with_no_more_rights_than_the_readmes_say(place: Callable[..., Place], redis_server: Any) -> None:
    direct = redis.Redis(port=redis_server.port)
    for readme in READMES:
        rule = re.search(r"^ACL SETUSER (\w+ .*?)^```", readme.read_text(), re.M | re.S)[1]
        direct.execute_command("ACL", "SETUSER", *rule.replace(">password", f">{SECRET}").split())
    made = place(
        broker_url=f"redis://worker:{SECRET}@{redis_server.place}",
        result_backend=f"redis://results:{SECRET}@{redis_server.place}",
        broker_transport_options={"global_keyprefix": "myapp."},
        result_backend_transport_options={"global_keyprefix": "myapp."},
        worker_send_task_events=True,
    )
    assert [result.get(timeout=15) for result in made.send(1, 2, 3)] == [1, 2, 3]
    prefix = {"global_keyprefix": "myapp."}
    assert answers(broker_url=redis_server.url, broker_transport_options=prefix)
    assert [key for key in direct.keys("*") if not key.startswith(b"myapp.")] == []
    refused = {entry["object"] for entry in direct.acl_log()}
    assert refused <= {"client|setinfo"}, refused
    assert made.log() == ""


def test_tls_from_the_settings(place: Callable[..., Place], start_redis: Callable[..., Any], certificates: Any) -> None:
    own = ("--tls-cert-file", certificates.server, "--tls-key-file", certificates.server_key)
    server = start_redis(*own, "--tls-ca-cert-file", certificates.authority, "--tls-auth-clients", "yes", tls=True)
    tls = {
        "ssl_cert_reqs": "CERT_REQUIRED",
        "ssl_ca_certs": certificates.authority,
        "ssl_certfile": certificates.client,
        "ssl_keyfile": certificates.client_key,
    }
    url = f"rediss://{server.place}/1"
    made = place(broker_url=url, result_backend=url, broker_use_ssl=tls, redis_backend_use_ssl=tls)
    assert [result.get(timeout=15) for result in made.send(1, 2, 3)] == [1, 2, 3]
    assert answers(broker_url=url, broker_use_ssl={**tls, "ssl_cert_reqs": "required"})
    assert made.log() == ""


def test_a_server_without_client_that_drops_who_is_silent(
    place: Callable[..., Place], start_redis: Callable[..., Any]
) -> None:
    """More waits than there is room for, and then nothing comes for a while."""
    server = start_redis("--timeout", "1", "--rename-command", "CLIENT", "")
    made = place(broker_url=server.url, result_backend=server.url, worker_prefetch_multiplier=2)
    results = made.send(*range(6), seconds=1.6)
    assert [result.get(timeout=20) for result in results] == list(range(6))
    time.sleep(2.2)
    assert made.send(7)[0].get(timeout=5) == 7
    assert set(made.notes().values()) == {1}
    assert made.log() == ""


def test_a_full_server_is_worked_off(place: Callable[..., Place], redis_server: Any) -> None:
    direct = redis.Redis(port=redis_server.port)
    made = place(broker_url=redis_server.url, result_backend="disabled://", broker_transport_options={"lease": 1.0})
    made.send(*range(20), seconds=0.2)
    made.wait(lambda: len(made.notes()) >= 2, "a start")
    direct.config_set("maxmemory", 1)
    with pytest.raises(OperationalError, match=r"its memory is full \(maxmemory\)"):
        made.send(99)
    made.wait(lambda: len(made.notes()) == 20, "the tasks that are there")
    assert set(made.notes().values()) == {1}
    assert made.log() == ""


def test_results_wait_for_room_in_a_full_server(place: Callable[..., Place], redis_server: Any) -> None:
    direct = redis.Redis(port=redis_server.port)
    made = place(broker_url=redis_server.url, result_backend=redis_server.url, broker_transport_options={"lease": 1.0})
    results = made.send(*range(20), seconds=0.1)
    made.wait(lambda: len(made.notes()) >= 2, "a start")
    direct.config_set("maxmemory", 1)
    made.wait(lambda: "its memory is full (maxmemory)" in made.log(), "a word of the worker")
    time.sleep(1.5)
    assert len(made.notes()) < 20, "what waits is counted against the room for more"
    direct.config_set("maxmemory", 0)
    assert [result.get(timeout=20) for result in results] == list(range(20))
    assert set(made.notes().values()) == {1}
    assert all("they are kept, trying again" in line for line in made.log().splitlines())
