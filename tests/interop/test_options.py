"""The options of a call, and what the worker of the other kind makes of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest


def test_the_other_side_runs_it(pair: Any) -> None:
    about = pair.task("about").delay().get(timeout=20)
    assert about["side"] == pair.worker
    assert about["routing_key"] == pair.fleet.queue(pair.side)


def test_the_id_is_the_clients_choice(pair: Any) -> None:
    wanted = f"chosen-{pair.word()}"
    result = pair.task("about").apply_async(task_id=wanted)
    about = result.get(timeout=20)
    assert (result.id, about["id"], about["root_id"]) == (wanted, wanted, wanted)


def test_countdown_and_eta(pair: Any) -> None:
    sent = datetime.now(UTC)
    by_countdown = pair.task("about").apply_async(countdown=0.6)
    by_eta = pair.task("about").apply_async(eta=sent + timedelta(seconds=0.6))
    at_once = pair.task("about").delay()
    assert at_once.get(timeout=20)["at"] - sent < timedelta(seconds=0.6)
    assert by_countdown.get(timeout=20)["at"] - sent >= timedelta(seconds=0.6)
    assert by_eta.get(timeout=20)["at"] - sent >= timedelta(seconds=0.6)


def test_what_has_expired_is_not_run(pair: Any) -> None:
    word = pair.word()
    past = pair.task("note").apply_async((word,), expires=datetime.now(UTC) - timedelta(seconds=1))
    soon = pair.task("note").apply_async((word,), countdown=0.4, expires=0.2)
    for result in (past, soon):
        with pytest.raises(pair.exceptions.TaskRevokedError):
            result.get(timeout=20)
        assert result.state == "REVOKED"
    assert not pair.fleet.lines(word)


def test_every_priority_arrives(pair: Any) -> None:
    sent = {number: pair.task("about").apply_async(priority=number) for number in range(10)}
    assert {number: result.get(timeout=20)["priority"] for number, result in sent.items()} == {
        number: number for number in range(10)
    }


@pytest.mark.parametrize("compression", ["zlib", "gzip", "bzip2"])
def test_compressed_bodies(pair: Any, compression: str) -> None:
    text = "tea for two, " * 500
    assert pair.task("echo").apply_async((text,), compression=compression).get(timeout=20) == ["str", text]


def test_headers_reach_the_task(pair: Any) -> None:
    assert pair.task("about").apply_async(headers={"tenant": "blue"}).get(timeout=20)["tenant"] == "blue"


def test_retries(pair: Any) -> None:
    assert pair.task("flaky").delay(2).get(timeout=20) == 2
    with pytest.raises(Exception, match="patience") as caught:
        pair.task("give_up").delay().get(timeout=20)
    assert caught.value.args == ("patience", 1)


def test_callbacks_are_sent_with_the_result(pair: Any, wait_until: Any) -> None:
    word = pair.word()
    result = pair.task("add").apply_async((2, 2), link=pair.task("note").s(word))
    assert result.get(timeout=20) == 4
    ((side, *_),) = wait_until(lambda: pair.fleet.lines("4", word))
    assert side == pair.worker


def test_errbacks_of_both_forms_are_called(pair: Any, wait_until: Any) -> None:
    word = pair.word()
    result = pair.task("fail").apply_async(link_error=[pair.task("regret").s(word=word), pair.task("regret_by_id").s()])
    with pytest.raises(Exception, match="tea"):
        result.get(timeout=20)
    assert wait_until(lambda: pair.fleet.lines("regret", word)) == [
        [pair.worker, "regret", word, "OutOfStock", result.id]
    ]
    assert wait_until(lambda: pair.fleet.lines("regret-by-id", result.id)) == [[pair.worker, "regret-by-id", result.id]]


def test_an_ignored_result_is_not_stored(pair: Any, wait_until: Any) -> None:
    word = pair.word()
    result = pair.task("note").apply_async((word,), ignore_result=True)
    wait_until(lambda: pair.fleet.lines(word))
    # Two slots: four tasks later, what the first one left behind is there if it left anything.
    assert [pair.task("add").delay(1, 1).get(timeout=20) for _ in range(4)] == [2] * 4
    assert pair.app.AsyncResult(result.id).state == "PENDING"


def test_protocol_1(pair: Any) -> None:
    app = pair.make()
    app.conf.task_protocol = 1
    try:
        assert app.tasks["jobs.add"].delay(3, y=4).get(timeout=20) == 7
        assert app.tasks["jobs.flaky"].delay(1).get(timeout=20) == 1
        with pytest.raises(Exception, match="tea"):
            app.tasks["jobs.fail"].delay().get(timeout=20)
    finally:
        app.close()


def test_a_topic_exchange(pair: Any) -> None:
    queue, key = pair.fleet.queue(f"news-{pair.side}"), f"{pair.side}.sports.tennis"
    about = pair.task("about").apply_async(queue=queue, routing_key=key).get(timeout=20)
    assert (about["side"], about["routing_key"]) == (pair.worker, key)


def test_a_direct_exchange_by_its_name(pair: Any) -> None:
    exchange, key = pair.fleet.queue("shop"), f"{pair.side}.orders"
    about = pair.task("about").apply_async(exchange=exchange, routing_key=key).get(timeout=20)
    assert (about["side"], about["routing_key"]) == (pair.worker, key)


def test_the_tasks_that_a_task_sent_are_its_children(pair: Any) -> None:
    result = pair.task("spawn").delay()
    child_id = result.get(timeout=20)
    assert [child.id for child in result.children] == [child_id]
    if pair.fleet.backend != "rpc://":
        # With rpc:// a result goes to who sent the task, and that was the worker.
        assert result.children[0].get(timeout=20) == 23
