"""The conformance suite for steps.

class TestMyStep(StepConformance):
    step_class = MyStep

    @pytest.fixture
    def context(self):
        return Context(app=..., options=...)
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import ClassVar

import pytest

from umbel_kernel.blueprint import Blueprint, State
from umbel_kernel.step import Context, Step


class StepConformance:
    """Everything that ``umbel_kernel.step`` promises.

    Attributes:
        step_class: the class to check; it is made without arguments.
    """

    step_class: ClassVar[type[Step]]

    @pytest.fixture
    def context(self) -> Context:
        """What the step reads: give all that it requires."""
        return Context()

    @pytest.fixture
    def step(self) -> Step:
        """One step."""
        return self.step_class()

    def test_it_has_a_name_of_its_own(self) -> None:
        name = self.step_class.name
        assert name.isidentifier() and name == name.lower(), f"{name!r} is not snake case"
        assert name != Step.name

    def test_it_says_what_it_gives_and_needs(self) -> None:
        for names in (self.step_class.provides, self.step_class.requires, self.step_class.wants):
            assert isinstance(names, tuple), "a string alone is a sequence of letters; write (name,)"
            assert all(isinstance(name, str) and name.isidentifier() for name in names)
            assert len(set(names)) == len(names)
        assert not {self.step_class.name, *self.step_class.provides} & set(self.step_class.requires)

    def test_it_is_described(self) -> None:
        assert (self.step_class.__doc__ or "").strip()

    def test_include_if_answers(self, step: Step, context: Context) -> None:
        assert type(step.include_if(context)) is bool

    def test_start_returns_what_it_provides(self, step: Step, context: Context) -> None:
        before = dict(context)
        value = step.start(context)
        try:
            assert dict(context).keys() == before.keys(), "a step returns what it provides and writes nothing itself"
            if len(self.step_class.provides) > 1:
                assert isinstance(value, Mapping)
                assert set(value) == set(self.step_class.provides)
            elif not self.step_class.provides:
                assert value is None, "it returned a value, and provides no name for it"
        finally:
            step.stop(context)

    def test_it_works_in_a_blueprint(self, context: Context) -> None:
        blueprint = Blueprint("conformance", [self.step_class])
        assert [step.name for step in blueprint.resolve(context)] == [self.step_class.name]
        blueprint.start(context)
        try:
            assert set(self.step_class.provides) <= set(context)
            json.dumps(blueprint.info(context))  # facts for people and remote control: plain data
        finally:
            blueprint.stop(context)
        assert blueprint.state is State.STOPPED

    def test_it_can_be_started_again(self, context: Context, caplog: pytest.LogCaptureFixture) -> None:
        blueprint = Blueprint("conformance", [self.step_class])
        for _ in range(2):
            blueprint.start(context)
            blueprint.stop(context)
        assert [record.message for record in caplog.records if record.levelname == "ERROR"] == []

    def test_it_can_be_terminated(self, context: Context, caplog: pytest.LogCaptureFixture) -> None:
        blueprint = Blueprint("conformance", [self.step_class])
        blueprint.start(context)
        blueprint.terminate(context)
        assert [record.message for record in caplog.records if record.levelname == "ERROR"] == []

    def test_close_comes_before_stop(self, step: Step, context: Context) -> None:
        step.start(context)
        step.close(context)
        step.stop(context)
