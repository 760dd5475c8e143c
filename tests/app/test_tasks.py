"""Tasks through a worker: arguments, results, errors, retries, options."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from umbel import Task, Umbel, group, shared_task
from umbel.model.exceptions import (
    Ignore,
    MaxRetriesExceededError,
    NotRegistered,
    Reject,
    RemoteError,
    TaskRevokedError,
    TimeoutError,
)


class Peculiar(Exception):
    """An error whose class the caller knows."""


def test_a_result_comes_back(app: Umbel, running: Any) -> None:
    @app.task
    def add(x: int, y: int = 1) -> int:
        return x + y

    running(app)
    assert add.delay(2, y=3).get(timeout=5) == 5
    assert add.apply_async((2,)).get(timeout=5) == 3
    assert app.send_task(add.name, (4, 5)).get(timeout=5) == 9
    assert add(1, 2) == 3


def test_an_error_is_raised_at_the_caller_as_its_own_class_with_the_remote_traceback(app: Umbel, running: Any) -> None:
    @app.task
    def fail() -> None:
        raise Peculiar("seven", 7)

    running(app)
    result = fail.delay()
    with pytest.raises(Peculiar) as caught:
        result.get(timeout=5)
    assert caught.value.args == ("seven", 7)
    assert "in fail" in str(result.traceback)
    assert 'raise Peculiar("seven", 7)' in str(caught.value.__cause__)
    assert result.state == "FAILURE"
    assert result.failed()


def test_bind_gives_the_task_and_its_request(app: Umbel, running: Any) -> None:
    @app.task(bind=True)
    def who(self: Task, x: int) -> list[Any]:
        request = self.request
        return [request.id, request.task, request.args, request.retries, request.called_directly, request.hostname]

    worker = running(app)
    result = who.delay(1)
    assert result.get(timeout=5) == [result.id, who.name, [1], 0, False, worker.hostname]


def test_retry_runs_again_until_it_succeeds(app: Umbel, running: Any) -> None:
    @app.task(bind=True, max_retries=3)
    def flaky(self: Task) -> int:
        if self.request.retries < 3:
            raise self.retry(countdown=0.01)
        return self.request.retries

    running(app)
    assert flaky.delay().get(timeout=5) == 3


def test_retry_gives_up_with_the_reason(app: Umbel, running: Any) -> None:
    @app.task(bind=True, max_retries=1)
    def hopeless(self: Task) -> None:
        raise self.retry(exc=Peculiar("no"), countdown=0)

    @app.task(bind=True, max_retries=0)
    def wordless(self: Task) -> None:
        raise self.retry(countdown=0)

    running(app)
    with pytest.raises(Peculiar):
        hopeless.delay().get(timeout=5)
    with pytest.raises(MaxRetriesExceededError):
        wordless.delay().get(timeout=5)


def test_autoretry_for(app: Umbel, running: Any) -> None:
    attempts: list[int] = []

    @app.task(bind=True, autoretry_for=(Peculiar,), retry_kwargs={"max_retries": 2, "countdown": 0})
    def flaky(self: Task, until: int) -> int:
        attempts.append(self.request.retries)
        if self.request.retries < until:
            raise Peculiar("again")
        return self.request.retries

    running(app)
    assert flaky.delay(2).get(timeout=5) == 2
    assert attempts == [0, 1, 2]
    with pytest.raises(Peculiar):
        flaky.delay(99).get(timeout=5)


def test_countdown_and_eta_are_kept(app: Umbel, running: Any) -> None:
    @app.task
    def now() -> float:
        return time.time()

    running(app)
    sent = time.time()
    results = [
        now.apply_async(countdown=0.4),
        now.apply_async(eta=datetime.now(UTC) + timedelta(seconds=0.4)),
        now.apply_async(eta=(datetime.now(UTC) + timedelta(seconds=0.4)).isoformat()),
    ]
    for result in results:
        assert 0.38 <= result.get(timeout=5) - sent < 2


def test_an_expired_task_does_not_run(app: Umbel, running: Any) -> None:
    ran: list[int] = []

    @app.task
    def late() -> None:
        ran.append(1)

    result = late.apply_async(expires=0.01)
    time.sleep(0.05)
    running(app)
    with pytest.raises(TaskRevokedError):
        result.get(timeout=5)
    assert result.state == "REVOKED"
    assert not ran


def test_a_revoked_task_does_not_run(app: Umbel, running: Any) -> None:
    ran: list[str] = []

    @app.task(bind=True)
    def job(self: Task) -> None:
        ran.append(self.request.id)

    worker = running(app)
    waiting = job.apply_async(countdown=0.3)
    waiting.revoke()
    assert job.delay().get(timeout=5) is None
    with pytest.raises(TaskRevokedError):
        waiting.get(timeout=5)
    assert waiting.id not in ran
    assert waiting.id in worker.context.revoked


def test_ignore_and_reject_store_nothing(app: Umbel, running: Any) -> None:
    ran: list[str] = []

    @app.task
    def ignoring() -> None:
        ran.append("ignore")
        raise Ignore

    @app.task(acks_late=True)
    def rejecting() -> None:
        ran.append("reject")
        raise Reject("no", requeue=len(ran) < 3)

    @app.task
    def last() -> None:
        """Runs after the others."""

    running(app, concurrency=1)
    first = ignoring.delay()
    second = rejecting.delay()
    with pytest.raises(TimeoutError):
        second.get(timeout=0.3)
    last.delay().get(timeout=5)
    assert first.state == second.state == "PENDING"
    assert ran == ["ignore", "reject", "reject"]


def test_handlers_are_called_in_order_with_celerys_arguments(app: Umbel, running: Any) -> None:
    calls: list[tuple[Any, ...]] = []

    class Told(Task):
        def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
            calls.append(("before_start", task_id, list(args), kwargs))

        def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
            calls.append(("on_success", retval, task_id))

        def on_failure(self, exc: BaseException, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
            calls.append(("on_failure", repr(exc), task_id, "Peculiar" in str(einfo)))

        def on_retry(self, exc: BaseException, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
            calls.append(("on_retry", repr(exc), task_id))

        def after_return(self, status: str, retval: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
            calls.append(("after_return", status, task_id))

    @app.task(base=Told, bind=True)
    def told(self: Task, how: str) -> str:
        if how == "fail":
            raise Peculiar(how)
        if how == "retry" and not self.request.retries:
            raise self.retry(exc=Peculiar(how), countdown=0)
        return how

    running(app, concurrency=1)
    good, bad, again = told.delay("well"), told.delay("fail"), told.delay("retry")
    assert good.get(timeout=5) == "well"
    assert again.get(timeout=5) == "retry"
    assert bad.get(timeout=5, propagate=False)
    assert [call for call in calls if good.id in call] == [
        ("before_start", good.id, ["well"], {}),
        ("on_success", "well", good.id),
        ("after_return", "SUCCESS", good.id),
    ]
    assert [call[0] for call in calls if bad.id in call] == ["before_start", "on_failure", "after_return"]
    assert ("on_failure", "Peculiar('fail')", bad.id, True) in calls
    assert [call[:2] for call in calls if again.id in call] == [
        ("before_start", again.id),
        ("on_retry", "Peculiar('retry')"),
        ("before_start", again.id),
        ("on_success", "retry"),
        ("after_return", "SUCCESS"),
    ]


def test_update_state_is_seen(app: Umbel, running: Any) -> None:
    @app.task(bind=True)
    def working(self: Task) -> None:
        self.update_state(state="PROGRESS", meta={"done": 3})
        end = time.monotonic() + 5
        while not seen and time.monotonic() < end:
            time.sleep(0.005)

    seen: list[Any] = []
    running(app)
    result = working.delay()
    end = time.monotonic() + 5
    while result.state != "PROGRESS" and time.monotonic() < end:
        time.sleep(0.005)
    assert result.info == {"done": 3}
    seen.append(1)
    assert result.get(timeout=5) is None


def test_wrong_arguments_are_refused_where_they_are_made(app: Umbel) -> None:
    @app.task
    def add(x: int, y: int) -> int:
        return x + y

    with pytest.raises(TypeError, match=r"add\(\) missing 1 required positional argument: 'y'"):
        add.delay(1)
    with pytest.raises(TypeError, match="unexpected keyword argument 'z'"):
        add.delay(1, z=2)
    with pytest.raises(TypeError, match="list or tuple"):
        app.send_task("x", args="12")
    with pytest.raises(TypeError, match="mapping"):
        app.send_task("x", kwargs=[1])


def test_wrong_arguments_that_come_by_name_fail_in_the_worker(app: Umbel, running: Any) -> None:
    @app.task(typing=False)
    def add(x: int, y: int) -> int:
        return x + y

    running(app)
    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        app.send_task(add.name, (1,)).get(timeout=5)


def test_a_task_nobody_knows_fails_its_caller_and_is_kept(app: Umbel, running: Any) -> None:
    running(app)
    with pytest.raises(NotRegistered):
        app.send_task("nobody.knows", (1,)).get(timeout=5)
    queue = app.conf.worker_dead_letter_queue
    end = time.monotonic() + 5
    while not app.connections.broker().size([queue])[queue] and time.monotonic() < end:
        time.sleep(0.01)
    consumer = app.connections.broker().consumer([app.queues[queue]])
    (dead,) = consumer.receive(5, 1)
    assert "NotRegistered" in dead.headers["umbel-dead-reason"]
    assert dead.headers["task"] == "nobody.knows"
    consumer.close()


def test_a_result_that_cannot_be_serialised_is_a_failure(app: Umbel, running: Any) -> None:
    @app.task
    def odd() -> Any:
        return object()

    running(app)
    with pytest.raises(Exception, match="object"):
        odd.delay().get(timeout=5)


def test_an_error_unknown_to_the_caller_has_a_stand_in(app: Umbel, running: Any) -> None:
    @app.task
    def odd() -> None:
        raise type("Homeless", (Exception,), {"__module__": "a.module.that.is.nowhere"})("x")

    running(app)
    with pytest.raises(RemoteError) as caught:
        odd.delay().get(timeout=5)
    assert type(caught.value).__name__ == "Homeless"


def test_shared_tasks_belong_to_every_app(app: Umbel, running: Any) -> None:
    @shared_task(name=f"shared.{app.connections.broker_urls()[0].host}")
    def double(x: int) -> int:
        return 2 * x

    running(app)
    assert double.delay(4).get(timeout=5) == 8
    assert double(5) == 10


def test_ignore_result_stores_nothing(app: Umbel, running: Any) -> None:
    @app.task(ignore_result=True)
    def quiet() -> int:
        return 1

    @app.task
    def loud() -> int:
        return 2

    running(app, concurrency=1)
    first, second, third = quiet.delay(), loud.apply_async(ignore_result=True), loud.delay()
    assert third.get(timeout=5) == 2
    assert first.state == second.state == "PENDING"


def test_options_reach_the_message(app: Umbel) -> None:
    @app.task(priority=3, time_limit=20, queue="slow")
    def job() -> None:
        """Never run."""

    result = job.apply_async(
        priority=7, headers={"mine": 1}, shadow="Shadow", task_id="an-id", soft_time_limit=5, expires=60
    )
    assert result.id == "an-id"
    broker = app.connections.broker()
    (message,) = broker.consumer([app.queues["slow"]]).receive(1, 1)
    assert message.priority == 7
    assert message.headers["mine"] == 1
    assert message.headers["shadow"] == "Shadow"
    assert message.headers["timelimit"] == [20, 5]
    assert message.headers["root_id"] == message.correlation_id == "an-id"
    assert datetime.fromisoformat(message.headers["expires"]) > datetime.now(UTC) + timedelta(seconds=50)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"countdown": "soon"}, ValueError),
        ({"eta": 12}, ValueError),
        ({"eta": "tomorrow"}, ValueError),
        ({"countdown": 1e300}, ValueError),
        ({"expires": object()}, ValueError),
        ({"serializer": "nobody"}, Exception),
        ({"priority": "high"}, Exception),
    ],
)
def test_wrong_options_are_errors_at_the_call(app: Umbel, options: dict[str, Any], error: type[Exception]) -> None:
    @app.task
    def job() -> None:
        """Never run."""

    with pytest.raises(error):
        job.apply_async(**options)


def test_subtasks_know_their_parents(app: Umbel, running: Any) -> None:
    @app.task(bind=True)
    def child(self: Task) -> list[Any]:
        return [self.request.root_id, self.request.parent_id]

    @app.task(bind=True)
    def parent(self: Task) -> str:
        return str(child.delay().id)

    running(app)
    result = parent.delay()
    child_id = result.get(timeout=5)
    assert app.AsyncResult(child_id).get(timeout=5) == [result.id, result.id]
    assert [each.id for each in result.children] == [child_id]


def test_get_inside_a_task_is_refused(app: Umbel, running: Any) -> None:
    @app.task
    def inner() -> int:
        return 1

    @app.task
    def outer() -> int:
        return int(inner.delay().get(timeout=1))

    running(app)
    with pytest.raises(RuntimeError, match="must not wait for another task"):
        outer.delay().get(timeout=5)


def test_replace_lets_another_signature_end_under_the_same_id(app: Umbel, running: Any) -> None:
    @app.task
    def add(x: int, y: int) -> int:
        return x + y

    @app.task
    def total(numbers: list[int]) -> int:
        return sum(numbers)

    @app.task(bind=True)
    def one(self: Task) -> None:
        raise self.replace(add.s(1, 2))

    @app.task(bind=True)
    def many(self: Task) -> None:
        raise self.replace(group(add.s(number, 1) for number in range(3)))

    running(app)
    assert one.delay().get(timeout=5) == 3
    assert (one.s() | add.s(10)).delay().get(timeout=5) == 13
    assert many.delay().get(timeout=5) == [1, 2, 3]
    assert (many.s() | total.s()).delay().get(timeout=5) == 6
