"""A step that keeps its contract, and steps that each break a promise of it."""

from __future__ import annotations

from typing import Any

import pytest

from umbel_kernel.step import Context, Step
from umbel_testkit.step import StepConformance


class Lamp(Step):
    """A lamp that needs power and gives light."""

    provides = ("light", "warmth")
    requires = ("power",)

    def start(self, context: Context) -> Any:
        return {"light": context.power, "warmth": 1}


class StepCase(StepConformance):
    step_class: type[Step] = Lamp

    @pytest.fixture
    def context(self) -> Context:
        return Context(power=60)


class TestKeepsAll(StepCase):
    pass


class TestForgetsWhatItProvides(StepCase):
    must_fail = "test_start_returns_what_it_provides"

    class step_class(Lamp):
        """Light alone."""

        def start(self, context: Context) -> Any:
            return {"light": 1}


class TestWritesOnTheContext(StepCase):
    must_fail = "test_start_returns_what_it_provides"

    class step_class(Lamp):
        """Writes where it should return."""

        def start(self, context: Context) -> Any:
            context._put("light", 1)
            return super().start(context)


class TestNeedsWhatIsNotThere(StepCase):
    must_fail = "test_it_works_in_a_blueprint"

    class step_class(Lamp):
        """Needs more than it is given."""

        requires = ("power", "sun")


class TestStartsOnlyOnce(StepCase):
    must_fail = "test_it_can_be_started_again"

    class step_class(Lamp):
        """Breaks when it is stopped a second time."""

        stops = 0

        def stop(self, context: Context) -> None:
            self.stops += 1
            if self.stops > 1:
                raise RuntimeError("the filament is gone")


class TestNamesALetterAtATime(StepCase):
    must_fail = "test_it_says_what_it_gives_and_needs"

    class step_class(Lamp):
        """A string where a tuple should be."""

        requires = "power"  # type: ignore[assignment]


class TestAnswersMaybe(StepCase):
    must_fail = "test_include_if_answers"

    class step_class(Lamp):
        """Says neither yes nor no."""

        def include_if(self, context: Context) -> Any:
            return None
