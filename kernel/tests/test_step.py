"""Steps and the context they read."""

from __future__ import annotations

import pytest

from umbel_kernel.step import Context, Step


def test_the_name_is_the_class_name_in_snake_case() -> None:
    class DelayedDelivery(Step):
        pass

    class Named(Step):
        name = "other"

    class Heir(Named):
        pass

    assert (DelayedDelivery.name, Named.name, Heir.name) == ("delayed_delivery", "other", "heir")


def test_the_defaults_do_nothing() -> None:
    context = Context()
    step = Step()
    assert step.include_if(context) is True
    assert step.start(context) is None
    step.close(context)
    step.stop(context)
    assert step.info(context) == {}


def test_terminate_stops_by_default() -> None:
    class Counting(Step):
        stopped = 0

        def stop(self, context: Context) -> None:
            self.stopped += 1

    step = Counting()
    step.terminate(Context())
    assert step.stopped == 1


def test_facts_are_read_as_items_and_attributes() -> None:
    context = Context(app="app", options=None)
    assert context["app"] == context.app == "app"
    assert context.options is None
    assert dict(context) == {"app": "app", "options": None}


def test_a_missing_fact_says_what_is_there() -> None:
    context = Context(app=1, hub=2)
    with pytest.raises(AttributeError, match="nothing named 'pool' is provided; there is: app, hub"):
        _ = context.pool
    with pytest.raises(KeyError):
        context["pool"]
    with pytest.raises(AttributeError):
        _ = context._private


def test_the_inner_context_sees_the_outer() -> None:
    outer = Context(app=1, pool=2)
    inner = Context(outer, pool=3)
    assert (inner.app, inner.pool, inner["app"]) == (1, 3, 1)
    assert sorted(inner) == ["app", "pool"]
    assert len(inner) == 2
    assert outer.pool == 2
    assert "missing" not in inner


def test_an_empty_outer_context_is_no_trouble() -> None:
    assert dict(Context(Context(), a=1)) == {"a": 1}
