"""The names and signatures of results beside Celery's own."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from umbel import results as ours

theirs: Any = pytest.importorskip("celery.result")

CLASSES = ["AsyncResult", "ResultSet", "GroupResult", "EagerResult"]

ABSENT = {
    "ResultSet.results": "each set has its own list; a class that shares one has no use",
    "GroupResult.results": "each set has its own list; a class that shares one has no use",
}
"""What Celery has and we have not, with the reason."""

DIFFERENT = {
    "AsyncResult.throw": "(exc, tb=None) by name, where Celery passes whatever it is given to a promise",
    "EagerResult.throw": "(exc, tb=None) by name, where Celery passes whatever it is given to a promise",
    "EagerResult.get": "what is not used is called **options, where Celery calls it **kwargs",
    "EagerResult.wait": "what is not used is called **options, where Celery calls it **kwargs",
}
"""Whose signature is another one, with the reason."""

MORE = {
    "as_tuple": "a set can be described, as a group can",
    "as_list": "every result can list its id and its parents'",
    "ignored": "asked of groups as of tasks",
    "id": "a set has none, and says so",
    "keep": "how an eager result learns more than its outcome",
}
"""What we have and Celery has not, with the reason."""


def names(of: Any) -> set[str]:
    return {name for name in dir(of) if not name.startswith("_")}


def parameters(function: Any) -> list[Any]:
    return [(each.name, each.default, each.kind) for each in inspect.signature(function).parameters.values()]


@pytest.mark.parametrize("name", CLASSES)
def test_every_public_name_is_there(name: str) -> None:
    their, our = getattr(theirs, name), getattr(ours, name)
    assert {f"{name}.{each}" for each in names(their) - names(our)} <= ABSENT.keys()
    assert names(our) - names(their) <= MORE.keys()


@pytest.mark.parametrize("name", CLASSES)
def test_every_signature_is_the_same(name: str) -> None:
    their, our = getattr(theirs, name), getattr(ours, name)
    both = {each: (getattr(their, each), getattr(our, each)) for each in names(their) & names(our)}
    callables = {each: pair for each, pair in both.items() if inspect.isroutine(pair[0])}
    differ = {f"{name}.{each}" for each, (a, b) in callables.items() if parameters(a) != parameters(b)}
    assert differ == {each for each in DIFFERENT if each.startswith(f"{name}.")}


@pytest.mark.parametrize("name", CLASSES)
def test_what_can_be_set_can_be_set(name: str) -> None:
    their, our = getattr(theirs, name), getattr(ours, name)
    for each in names(their) & names(our):
        found = inspect.getattr_static(our, each)
        if isinstance(found, property) and found.fset is None:
            counterpart = inspect.getattr_static(their, each)
            # Celery's ``graph`` can be set because it is cached in the instance's dict.
            assert getattr(counterpart, "fset", None) is None or each == "graph", f"{name}.{each}"


@pytest.mark.parametrize(
    "name", ["result_from_tuple", "assert_will_not_block", "allow_join_result", "denied_join_result"]
)
def test_the_functions_are_there(name: str) -> None:
    renamed = {"r": "data"}
    expected = [renamed.get(each, each) for each in inspect.signature(getattr(theirs, name)).parameters]
    assert list(inspect.signature(getattr(ours, name)).parameters) == expected


def test_instances_have_what_only_instances_have() -> None:
    group = ours.GroupResult("g", [])
    assert group.results == [] and group.children is group.results
