"""Steps start in order, stop in reverse, and are rolled back when one fails."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from typing import Any

import pytest

from umbel_kernel.blueprint import Blueprint, State
from umbel_kernel.errors import CircularDependency, DuplicateProvider, GraphError, UnmetRequirement
from umbel_kernel.step import Context, Step


class Logged(Step):
    """Writes what is asked of it into the context's ``log``."""

    def start(self, context: Context) -> Any:
        context.log.append(f"start {self.name}")
        return (
            {name: f"{name} of {self.name}" for name in self.provides} if len(self.provides) > 1 else f"a {self.name}"
        )

    def close(self, context: Context) -> None:
        context.log.append(f"close {self.name}")

    def stop(self, context: Context) -> None:
        context.log.append(f"stop {self.name}")

    def terminate(self, context: Context) -> None:
        context.log.append(f"terminate {self.name}")

    def info(self, context: Context) -> Mapping[str, Any]:
        return {"name": self.name}


class Timer(Logged):
    provides = ("clock",)


class Hub(Logged):
    provides = ("loop", "wake")
    requires = ("clock",)


class Pool(Logged):
    requires = ("hub",)


class Consumer(Logged):
    last = True


class Statistics(Logged):
    wants = ("pool", "nothing")


@pytest.fixture
def context() -> Context:
    return Context(log=[])


def test_start_and_stop(context: Context) -> None:
    blueprint = Blueprint("worker", [Consumer, Pool, Hub, Timer])
    blueprint.start(context)
    assert context.log == ["start timer", "start hub", "start pool", "start consumer"]
    assert blueprint.state is State.RUNNING
    assert (context.clock, context.loop, context.wake) == ("a timer", "loop of hub", "wake of hub")
    assert "pool" not in context
    assert blueprint.info(context) == {name: {"name": name} for name in ("timer", "hub", "pool", "consumer")}
    context.log.clear()
    blueprint.stop(context)
    names = ["consumer", "pool", "hub", "timer"]
    assert context.log == [*(f"close {name}" for name in names), *(f"stop {name}" for name in names)]
    assert blueprint.state is State.STOPPED
    assert "clock" not in context and "loop" not in context
    assert blueprint.join(0) is True


def test_close_comes_once(context: Context) -> None:
    blueprint = Blueprint("worker", [Timer])
    blueprint.start(context)
    blueprint.close(context)
    blueprint.close(context)
    assert blueprint.state is State.CLOSING
    blueprint.stop(context)
    assert context.log == ["start timer", "close timer", "stop timer"]


def test_terminate(context: Context) -> None:
    blueprint = Blueprint("worker", [Timer, Hub])
    blueprint.start(context)
    blueprint.terminate(context)
    assert context.log[2:] == ["terminate hub", "terminate timer"]
    assert blueprint.state is State.STOPPED


def test_it_may_be_started_again(context: Context) -> None:
    blueprint = Blueprint("consumer", [Timer, Hub])
    for _ in range(2):
        blueprint.start(context)
        with pytest.raises(GraphError, match="'consumer' is running"):
            blueprint.start(context)
        blueprint.stop(context)
    assert context.log.count("start hub") == context.log.count("stop hub") == 2


def test_join_waits_until_stopped(context: Context) -> None:
    blueprint = Blueprint("worker", [Timer])
    blueprint.start(context)
    assert blueprint.join(0) is False
    stopping = threading.Timer(0.05, blueprint.stop, [context])
    stopping.start()
    assert blueprint.join(10) is True
    stopping.join()


class Failing(Logged):
    requires = ("hub",)

    def start(self, context: Context) -> Any:
        raise OSError("no socket")


def test_a_failed_start_is_undone_in_reverse(context: Context) -> None:
    blueprint = Blueprint("worker", [Timer, Hub, Failing, Consumer])
    with pytest.raises(OSError, match="no socket") as caught:
        blueprint.start(context)
    assert caught.value.__notes__ == ["while the worker blueprint started its step 'failing'"]
    assert context.log == ["start timer", "start hub", "stop hub", "stop timer"]
    assert (blueprint.state, blueprint.started) == (State.STOPPED, [])
    assert "clock" not in context
    assert blueprint.join(0) is True


def test_an_interrupt_is_undone_too(context: Context) -> None:
    class Interrupted(Logged):
        requires = ("clock",)

        def start(self, context: Context) -> Any:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Blueprint("worker", [Timer, Interrupted]).start(context)
    assert context.log == ["start timer", "stop timer"]


def test_an_error_in_stop_does_not_keep_the_others(context: Context, caplog: pytest.LogCaptureFixture) -> None:
    class Stubborn(Logged):
        requires = ("clock",)

        def stop(self, context: Context) -> None:
            raise OSError("will not stop")

    blueprint = Blueprint("worker", [Timer, Stubborn, Consumer])
    blueprint.start(context)
    with caplog.at_level(logging.ERROR):
        blueprint.stop(context)
    assert context.log[-2:] == ["stop consumer", "stop timer"]
    assert "step 'stubborn' failed to stop" in caplog.text and "will not stop" in caplog.text


@pytest.mark.parametrize("value", [None, {"loop": 1}, {"loop": 1, "wake": 2, "more": 3}])
def test_a_step_returns_what_it_provides(context: Context, value: Any) -> None:
    class Wrong(Hub):
        def start(self, context: Context) -> Any:
            return value

    with pytest.raises(GraphError, match="step 'wrong' must return a mapping of exactly loop, wake"):
        Blueprint("worker", [Timer, Wrong]).start(context)
    assert context.log == ["start timer", "stop timer"]


def test_an_unmet_need_is_named(context: Context) -> None:
    with pytest.raises(UnmetRequirement) as caught:
        Blueprint("worker", [Hub]).start(context)
    assert (caught.value.step, caught.value.need) == ("hub", "clock")
    assert "step 'hub' needs 'clock'" in str(caught.value)
    assert "provided here: hub, log, loop, wake" in str(caught.value)
    assert context.log == []


def test_a_hint_says_which_plugin_would_provide_it(context: Context) -> None:
    hint = {"clock": "pip install 'umbel[clock]' brings it"}
    with pytest.raises(UnmetRequirement, match=r"pip install 'umbel\[clock\]' brings it"):
        Blueprint("worker", [Hub], hint=lambda need: hint.get(need, "")).resolve(context)


def test_the_context_may_meet_a_need() -> None:
    context = Context(Context(clock="from outside"), log=[])
    assert [step.name for step in Blueprint("consumer", [Hub]).resolve(context)] == ["hub"]


def test_a_circle_is_an_error(context: Context) -> None:
    class First(Logged):
        requires = ("second",)

    class Second(Logged):
        requires = ("first",)

    with pytest.raises(CircularDependency, match="first -> second -> first"):
        Blueprint("worker", [First, Second]).resolve(context)


def test_two_providers_are_an_error(context: Context) -> None:
    class Sundial(Logged):
        provides = ("clock",)

    with pytest.raises(DuplicateProvider, match="'clock' comes from two steps"):
        Blueprint("worker", [Timer, Sundial]).resolve(context)

    class Other(Logged):
        name = "timer"

    with pytest.raises(DuplicateProvider, match="'timer' comes from two steps"):
        Blueprint("worker", [Timer, Other])


def test_one_step_twice_takes_part_once(context: Context) -> None:
    assert [step.name for step in Blueprint("worker", [Timer, Timer, Timer()]).resolve(context)] == ["timer"]


def test_a_wish_orders_but_does_not_demand(context: Context) -> None:
    with_pool = Blueprint("worker", [Statistics, Pool, Hub, Timer]).resolve(context)
    assert [step.name for step in with_pool] == ["timer", "hub", "pool", "statistics"]
    assert [step.name for step in Blueprint("worker", [Statistics]).resolve(context)] == ["statistics"]


def test_who_does_not_take_part_provides_nothing(context: Context) -> None:
    class Maybe(Timer):
        def include_if(self, context: Context) -> bool:
            return "with_clock" in context

    blueprint = Blueprint("worker", [Maybe, Consumer])
    assert [step.name for step in blueprint.resolve(context)] == ["consumer"]
    assert [step.name for step in blueprint.resolve(Context(with_clock=1))] == ["maybe", "consumer"]
    with pytest.raises(UnmetRequirement):
        Blueprint("worker", [Maybe, Hub]).resolve(context)
