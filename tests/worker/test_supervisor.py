"""The supervisor: what ends the worker, what only begins anew, and with what pauses."""

from __future__ import annotations

import signal
import threading
import time
from typing import Any

import pytest

from umbel.worker import supervisor as module
from umbel.worker.shutdown import Ending
from umbel.worker.supervisor import Supervisor
from umbel_kernel.blueprint import Blueprint
from umbel_kernel.errors import ChannelError, OperationalError, PoolError
from umbel_kernel.step import Context, Step


@pytest.fixture
def supervised(rig: Any, app: Any, monkeypatch: Any) -> Any:
    """A supervisor whose pauses take no time, over a loop that raises the errors of a list and then ends."""
    app.task(name="late", acks_late=True)(lambda: None)
    made = rig()
    made.lose()
    made.starts, made.start_errors, made.turn_errors, made.pauses = 0, [], [], []

    class Connect(Step):
        def start(self, context: Context) -> None:
            made.starts += 1
            error = made.start_errors.pop(0) if made.start_errors else None
            if error is not None:
                raise error
            made.connect()

        def stop(self, context: Context) -> None:
            made.consumer.close()

    def turn() -> None:
        made.clock.now += made.lasts
        made.loop.done += made.works
        if made.turn_errors:
            raise made.turn_errors.pop(0)
        made.shutdown.request(Ending.WARM)

    made.lasts, made.works = 1.0, 0
    monkeypatch.setattr(made.loop, "turn", turn)
    monkeypatch.setattr(module, "monotonic", made.clock.monotonic)
    made.supervisor = Supervisor(
        app,
        "w1@test",
        context=Context(),
        blueprint=Blueprint("consumer", [Connect]),
        loop=made.loop,
        shutdown=made.shutdown,
        on_ready=lambda: None,
    )
    monkeypatch.setattr(made.supervisor, "_pause", made.pauses.append)
    return made


def test_a_lost_connection_is_made_again(supervised: Any, caplog: Any) -> None:
    supervised.turn_errors = [OperationalError("cut")]
    supervised.supervisor.run()
    assert supervised.starts == 2
    assert supervised.supervisor.restarts == 1
    assert "Connection to broker lost: cut" in caplog.text


def test_pauses_grow_also_when_each_connection_is_lost_at_once(supervised: Any) -> None:
    supervised.turn_errors = [OperationalError("cut")] * 5
    supervised.supervisor.run()
    assert supervised.pauses == [0.5, 1.0, 2.0, 3.0, 3.0]


def test_pauses_begin_anew_after_a_connection_that_lasted(supervised: Any) -> None:
    supervised.turn_errors = [OperationalError("cut")] * 4
    supervised.lasts = 60.0
    supervised.supervisor.run()
    assert supervised.pauses == [0.5] * 4


def test_pauses_stay_short_while_tasks_are_done_between_two_losses(supervised: Any) -> None:
    supervised.turn_errors = [OperationalError("cut")] * 5
    supervised.works = 1
    supervised.supervisor.run()
    assert supervised.pauses == [0.5, 1.0, 1.0, 1.0, 1.0]


def test_a_broker_that_is_away_for_long_is_waited_for(supervised: Any, caplog: Any) -> None:
    supervised.start_errors = [OperationalError("refused; is it running?")] * 500
    supervised.supervisor.run()
    assert supervised.starts == 501
    assert max(supervised.pauses) == 3.0
    assert "refused; is it running.\nTrying again in 3.00 seconds... (500/no limit)" in caplog.text


def test_a_plugin_that_raises_what_nobody_expects_does_not_end_the_worker(supervised: Any, caplog: Any) -> None:
    supervised.turn_errors = [ChannelError("a queue is gone"), ZeroDivisionError("a fault")]
    supervised.supervisor.run()
    assert supervised.starts == 3
    assert "ZeroDivisionError" in caplog.text
    assert "Traceback" in caplog.text


def test_a_step_that_cannot_be_started_ends_the_worker_at_first(supervised: Any) -> None:
    supervised.start_errors = [ChannelError("the queue exists with other properties")]
    with pytest.raises(ChannelError) as caught:
        supervised.supervisor.run()
    assert supervised.starts == 1
    assert "connect" in caught.value.__notes__[0]


def test_it_does_not_end_a_worker_that_has_worked_before(supervised: Any) -> None:
    supervised.turn_errors = [OperationalError("cut")]
    supervised.start_errors = [None, ChannelError("the node of the queue is down"), None]
    supervised.supervisor.run()
    assert supervised.starts == 3


def test_a_pool_that_can_run_nothing_ends_the_worker(supervised: Any, caplog: Any) -> None:
    supervised.turn_errors = [PoolError("children die at birth")]
    with pytest.raises(PoolError, match="children die at birth"):
        supervised.supervisor.run()
    assert "the worker ends because of an error: PoolError: children die at birth" in caplog.text
    assert supervised.consumer._closed


@pytest.mark.parametrize(
    ("settings", "starts"),
    [
        ({"broker_connection_retry": False}, 1),
        ({"broker_connection_retry_on_startup": False}, 1),
        ({"broker_connection_max_retries": 3}, 4),
    ],
)
def test_giving_up_is_a_matter_of_configuration(supervised: Any, settings: dict[str, Any], starts: int) -> None:
    supervised.app.conf.update(settings)
    supervised.start_errors = [OperationalError("refused")] * 10
    with pytest.raises(OperationalError, match="refused"):
        supervised.supervisor.run()
    assert supervised.starts == starts


def test_giving_up_waits_for_what_runs(supervised: Any, monkeypatch: Any) -> None:
    made = supervised
    made.app.conf.broker_connection_retry = False
    made.connect()
    result = made.app.send_task("late")
    type(made.loop).turn(made.loop)
    job = made.pool.begin()
    waited: list[float] = []

    def wait(timeout: float) -> None:
        waited.append(timeout)
        if made.pool.running:
            made.pool.end(job, made.app)

    monkeypatch.setattr(made.supervisor, "_wait", wait)
    made.turn_errors = [OperationalError("cut")]
    with pytest.raises(OperationalError):
        made.supervisor.run()
    assert result.get(timeout=1) == "done"
    assert len(waited) == 1


def test_a_warm_end_does_not_wait_for_ever_for_a_store_that_is_away(
    supervised: Any, monkeypatch: Any, caplog: Any
) -> None:
    made = supervised
    made.connect()
    result = made.app.send_task("late")
    type(made.loop).turn(made.loop)

    def away(records: Any) -> None:
        raise OperationalError("the store is away")

    monkeypatch.setattr(made.app.backend, "store", away)
    made.pool.end(made.pool.begin(), made.app)
    made.loop.detach()
    monkeypatch.setattr("umbel.worker.loop.PATIENCE", 0.3)
    before = time.monotonic()
    made.supervisor.run()
    assert time.monotonic() - before < 5
    assert "could not be handed over before the end: 0 messages, 1 results" in caplog.text
    assert result.id in caplog.text


def test_waking_is_safe_in_a_signal_handler(supervised: Any) -> None:
    made = supervised.supervisor
    stop = time.monotonic() + 0.5
    before = signal.signal(signal.SIGUSR2, lambda *_: made.wake())
    main = threading.main_thread().ident
    done = threading.Event()

    def fire() -> None:
        while not done.is_set():
            signal.pthread_kill(main, signal.SIGUSR2)
            time.sleep(0.0001)

    thread = threading.Thread(target=fire)
    thread.start()
    turns = 0
    while time.monotonic() < stop:
        made._wait(5)
        turns += 1
    done.set()
    thread.join()
    signal.signal(signal.SIGUSR2, before)
    assert turns > 100


def test_a_wake_before_the_wait_is_not_lost(supervised: Any) -> None:
    made = supervised.supervisor
    for _ in range(1000):
        made.wake()
    before = time.monotonic()
    made._wait(5)
    assert time.monotonic() - before < 1
    assert made._gate.empty()
