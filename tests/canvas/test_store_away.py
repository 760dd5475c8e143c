"""A workflow goes on when the result store was away at any of its steps; nothing of it is lost, or fails for that."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from umbel import Umbel
from umbel.app import outbox
from umbel.canvas import chain, chord, group
from umbel_kernel.errors import BackendError, OperationalError

MODULE = """
    import pathlib, time
    from umbel import Umbel, group

    here = pathlib.Path(__file__).parent
    app = Umbel("away", broker="sqlite:///{folder}/broker.db", backend="{backend}")
    app.conf.update(task_acks_late={late}, broker_connection_timeout=1.0, redis_socket_timeout=1.0)

    @app.task(name="add")
    def add(x, y=0):
        return x + y

    @app.task(name="total")
    def total(numbers):
        with open(here / "bodies", "a") as file:
            print(numbers, file=file)
        return sum(numbers)

    @app.task(name="hold", bind=True)
    def hold(self, value):
        (here / f"at-{{value}}").touch()
        while not (here / f"go-{{value}}").exists():
            time.sleep(0.01)
        return value

    @app.task(name="spread", bind=True)
    def spread(self, value):
        self.replace(group(add.si(value, n) for n in range(3)) | total.s())
"""


class Away:
    """A worker whose results are in a Redis server that can be stopped."""

    def __init__(self, folder: Path, server: Any, pool: str, *, late: bool) -> None:
        self.folder = folder
        self.server = server
        text = MODULE.format(folder=folder, backend=server.url, late=late)
        (folder / "away.py").write_text(textwrap.dedent(text))
        self.app = Umbel("client", broker=f"sqlite:///{folder}/broker.db", backend=server.url, set_as_current=False)
        command = [sys.executable, "-m", "umbel", "-q", "-A", "away", "worker", "-c", "2", "-P", pool, "-l", "WARNING"]
        with open(folder / "log", "ab") as log:
            self.worker = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)

    def sig(self, name: str, *args: Any, **options: Any) -> Any:
        return self.app.signature(name, args, **options)

    def said(self) -> str:
        return (self.folder / "log").read_text()

    def wait(self, done: Callable[[], Any], what: str) -> None:
        end = time.monotonic() + 30
        while not done():
            assert time.monotonic() < end and self.worker.poll() is None, f"{what} did not happen:\n{self.said()}"
            time.sleep(0.01)

    def while_away_after(self, value: int) -> None:
        """Stop the store while ``hold(value)`` runs, let that end, and start the store when the worker misses it."""
        self.wait((self.folder / f"at-{value}").exists, f"hold({value})")
        self.server.stop()
        (self.folder / f"go-{value}").touch()
        self.wait(lambda: "trying again in" in self.said(), "a failure to reach the store")
        self.server.start()

    def bodies(self) -> list[str]:
        return (self.folder / "bodies").read_text().splitlines()

    def close(self) -> None:
        self.worker.terminate()
        self.worker.wait(timeout=30)
        self.app.close()


@pytest.fixture
def away(tmp_path: Path, start_redis: Callable[..., Any]) -> Iterator[Callable[..., Away]]:
    """``away(pool)`` starts a worker and its store."""
    made: list[Away] = []

    def make(pool: str, *, late: bool = False) -> Away:
        server = start_redis("--appendonly", "yes", "--appendfsync", "always")
        made.append(Away(tmp_path, server, pool, late=late))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.mark.parametrize(("pool", "late"), [("prefork", False), ("threads", True)])
def test_a_chord_that_a_step_begins_while_the_store_is_away(away: Any, pool: str, late: bool) -> None:
    place = away(pool, late=late)
    header = group(place.sig("add", n) for n in range(3))
    flow = place.sig("hold", 5) | header | place.sig("total") | place.sig("add", 100)
    result = flow.apply_async()
    place.while_away_after(5)
    assert result.get(timeout=30) == 5 * 3 + 3 + 100
    assert place.bodies() == ["[5, 6, 7]"]
    assert result.parent.parent.parent.get(timeout=30) == 5, "the step has not failed"


@pytest.mark.slow
@pytest.mark.parametrize("pool", ["prefork", "threads"])
@pytest.mark.parametrize("what", ["callback", "member", "body", "nested", "replaced"])
def test_every_place_where_a_chord_begins_or_ends_waits_for_the_store(away: Any, pool: str, what: str) -> None:
    place = away(pool)
    sig, hold = place.sig, place.sig("hold", 5)
    if what == "callback":
        after = chord([sig("add", 1), sig("add", 2)], sig("total"))
        result = sig("hold", 5, link=after).apply_async()
        place.while_away_after(5)
        assert result.get(timeout=30) == 5
        place.wait((place.folder / "bodies").exists, "the body")
        assert place.bodies() == ["[6, 7]"]
        return
    flows = {
        "member": chord([hold, sig("add", 1)], sig("total")),
        "body": chord([hold, sig("add", 1)], sig("total")) | group(sig("add"), sig("add")) | sig("total"),
        "nested": hold | group(group(sig("add", 1), sig("add", 2)) | sig("total"), sig("add")) | sig("total"),
        "replaced": hold | sig("spread") | sig("add", 1),
    }
    expected = {"member": 6, "body": 12, "nested": (5 + 1 + 5 + 2) + 5, "replaced": 5 * 3 + 3 + 1}
    result = flows[what].apply_async()
    place.while_away_after(5)
    assert result.get(timeout=30) == expected[what]


def test_a_client_is_told_that_the_store_is_away(app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*args: Any, **named: Any) -> None:
        raise OperationalError("the store is away")

    monkeypatch.setattr(app.load_backend(), "begin_chord", away)
    flow = chord([app.add.s(1, 1)], app.total.s())
    for sent in (flow, group(flow, app.add.s(1, 1)), chain(chord([flow, flow], app.total.s()), app.add.s(1))):
        with pytest.raises(OperationalError, match="the store is away"):
            sent.apply_async()
        assert app.connections.broker().size(["celery"]).get("celery", 0) == 0, "nothing of it was sent"


def test_what_follows_a_task_begins_its_chords_when_it_is_published(
    app: Any, work: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = app.load_backend()
    real, tries, begun = backend.begin_chord, [OperationalError("the store is away")], []

    def begin(group_id: str, size: int, **named: Any) -> None:
        if tries:
            raise tries.pop()
        begun.append(size)
        real(group_id, size, **named)

    monkeypatch.setattr(backend, "begin_chord", begin)
    inner = chord([app.add.si(1, 1), app.add.si(2, 2), app.add.si(3, 3)], app.total.s())
    with outbox.gathering() as gathered:
        result = chord([inner, app.add.si(4, 4)], app.total.s()).apply_async()
    assert (begun, len(gathered)) == ([], 4)
    packed = [outbox.Outgoing.unpack(each.pack(), app.queues) for each in gathered]
    with pytest.raises(OperationalError, match="the store is away"):
        app.publisher.publish(packed)
    app.publisher.publish(packed)
    app.publisher.begin_chords(packed)
    assert sorted(begun) == [2, 3], "each once"
    work()
    assert result.get(timeout=0) == 20


def test_a_store_that_refuses_to_note_that_a_chord_begins_loses_none_of_it(
    app: Any, work: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*args: Any, **named: Any) -> None:
        raise BackendError("no room")

    monkeypatch.setattr(app.load_backend(), "begin_chord", refuse)
    result = (app.add.s(1, 1) | group(app.add.s(1), app.add.s(2)) | app.total.s()).apply_async()
    work()
    assert result.get(timeout=0) == 7
    assert "does not note that the chord of group" in caplog.text
