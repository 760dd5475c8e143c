"""Errors on the wire."""

from __future__ import annotations

import json
import pickle
import sys
import traceback
from typing import Any

import pytest

from umbel.model import exceptions as own
from umbel.wire import failure
from umbel.wire.failure import RemoteTraceback, attach_traceback, decode_exception, encode_exception
from umbel_kernel import errors as kernel


class Loaded(Exception):
    """An error whose class both sides have."""

    class Inner(Exception):
        """A nested one."""


class Particular(Exception):
    """One that is made of other arguments than those it keeps."""

    def __init__(self, code: int, *, reason: str) -> None:
        self.code = code
        super().__init__(f"{code}: {reason}")


class NoError:
    """A class that is no error."""


def through(exc: BaseException) -> BaseException:
    return decode_exception(json.loads(json.dumps(encode_exception(exc, "json"))))


def test_the_form_is_celerys() -> None:
    assert encode_exception(ValueError("no", 3), "json") == {
        "exc_type": "ValueError",
        "exc_message": ("no", 3),
        "exc_module": "builtins",
    }


@pytest.mark.parametrize(
    "exc", [ValueError("no", 3), KeyError("k"), Loaded("x"), Loaded.Inner("y"), OSError(2, "gone")]
)
def test_a_loaded_class_comes_back(exc: BaseException) -> None:
    back = through(exc)
    assert type(back) is type(exc)
    assert back.args == exc.args


def test_arguments_that_cannot_be_written_become_text() -> None:
    data = encode_exception(ValueError("ok", object, {"a": object()}), "json")
    first, second, third = data["exc_message"]
    assert (first, second) == ("ok", "<class 'object'>")
    assert "object object" in third


def test_a_class_that_refuses_its_arguments_is_made_all_the_same() -> None:
    back = through(Particular(4, reason="because"))
    assert type(back) is Particular
    assert back.args == ("4: because",)


def test_a_class_in_c_that_cannot_be_made_has_a_stand_in() -> None:
    pydantic = pytest.importorskip("pydantic")
    with pytest.raises(pydantic.ValidationError) as caught:
        pydantic.TypeAdapter(int).validate_python("x")
    back = through(caught.value)
    assert type(back).__name__ == "ValidationError" and isinstance(back, own.RemoteError)


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("os", "system"),
        ("builtins", "eval"),
        ("builtins", "SystemExit"),
        ("builtins", "object"),
        ("subprocess", "Popen"),
        ("sys", "modules"),
        (__name__, "NoError"),
        (__name__, "Loaded.__init__"),
        (__name__, "Loaded.Inner.__class__"),
        ("no.such.module", "Gone"),
        ("builtins", "ValueError.args"),
    ],
)
def test_nothing_but_loaded_errors_is_used(module: str, name: str) -> None:
    back = decode_exception({"exc_type": name, "exc_module": module, "exc_message": ["echo never"]})
    assert isinstance(back, own.RemoteError)
    assert back.args == ("echo never",)
    assert (type(back).__module__, type(back).__qualname__) == (module, name)


def test_no_module_is_imported_and_no_lazy_attribute_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    class Lazy(type(sys)):  # type: ignore[misc]
        def __getattr__(self, name: str) -> Any:
            asked.append(name)
            raise AttributeError(name)

    monkeypatch.setitem(sys.modules, "lazy_module_of_test", Lazy("lazy_module_of_test"))
    monkeypatch.delitem(sys.modules, "antigravity", raising=False)
    decode_exception({"exc_type": "Thing", "exc_module": "lazy_module_of_test", "exc_message": []})
    decode_exception({"exc_type": "Thing", "exc_module": "antigravity", "exc_message": []})
    assert asked == []
    assert "antigravity" not in sys.modules


def test_stand_ins_bear_the_name_and_are_one_class() -> None:
    first = decode_exception({"exc_type": "Outer.Gone", "exc_module": "far.away", "exc_message": ["a"]})
    second = decode_exception({"exc_type": "Outer.Gone", "exc_module": "far.away", "exc_message": ["b"]})
    assert type(first) is type(second)
    assert "far.away.Outer.Gone: a" in "".join(traceback.format_exception_only(first))
    again = pickle.loads(pickle.dumps(first))
    assert type(again) is type(first) and again.args == ("a",)
    assert encode_exception(first, "json")["exc_module"] == "far.away"


def test_stand_ins_are_not_kept_without_end() -> None:
    for number in range(failure._STAND_INS + 100):
        decode_exception({"exc_type": f"E{number}", "exc_module": "far", "exc_message": []})
    assert failure._named_stand_in.cache_info().currsize <= failure._STAND_INS


@pytest.mark.parametrize(
    "data",
    ["words", 3, ["a"], {}, {"exc_type": None}, {"exc_type": "a b\0"}, {"exc_type": "x" * 9999, "exc_module": "y"},
     {"exc_type": "E", "exc_module": ["m"]}, {"exc_type": "E", "exc_module": "m", "exc_message": {"a": 1}}],
)  # fmt: skip
def test_garbage_is_an_error_too(data: Any) -> None:
    assert isinstance(decode_exception(data), own.RemoteError)


PAIRS = [
    (kernel.SoftTimeLimitExceeded(5), "billiard.exceptions", "SoftTimeLimitExceeded"),
    (kernel.TimeLimitExceeded(5), "billiard.exceptions", "TimeLimitExceeded"),
    (kernel.WorkerLostError("gone"), "billiard.exceptions", "WorkerLostError"),
    (kernel.Terminated(15), "billiard.exceptions", "Terminated"),
    (kernel.OperationalError("away"), "kombu.exceptions", "OperationalError"),
    (kernel.ConfigurationError("wrong"), "celery.exceptions", "ImproperlyConfigured"),
    (own.Ignore("i"), "celery.exceptions", "Ignore"),
    (own.Reject("r", True), "celery.exceptions", "Reject"),
    (own.MaxRetriesExceededError("m"), "celery.exceptions", "MaxRetriesExceededError"),
    (own.TimeoutError("t"), "celery.exceptions", "TimeoutError"),
    (own.NotRegistered("n"), "celery.exceptions", "NotRegistered"),
    (own.ChordError("c"), "celery.exceptions", "ChordError"),
    (own.TaskRevokedError("v"), "celery.exceptions", "TaskRevokedError"),
    (own.InvalidTaskError("x"), "celery.exceptions", "InvalidTaskError"),
    (own.Retry("again", ValueError("v"), 5), "celery.exceptions", "Retry"),
]


@pytest.mark.parametrize(("exc", "module", "name"), PAIRS, ids=[name for _, _, name in PAIRS])
def test_our_errors_travel_under_celerys_names(exc: BaseException, module: str, name: str) -> None:
    data = encode_exception(exc, "json")
    assert (data["exc_module"], data["exc_type"]) == (module, name)
    assert type(through(exc)) is type(exc)
    celery = pytest.importorskip("celery")
    theirs = celery.Celery(backend="cache+memory://", set_as_current=False).backend.exception_to_python(data)
    assert (type(theirs).__module__, type(theirs).__name__) == (module, name)


def test_celerys_errors_come_in_as_ours() -> None:
    celery = pytest.importorskip("celery")
    backend = celery.Celery(backend="cache+memory://", set_as_current=False).backend
    for exc, wanted in (
        (celery.exceptions.SoftTimeLimitExceeded(3), kernel.SoftTimeLimitExceeded),
        (celery.exceptions.ImproperlyConfigured("x"), kernel.ConfigurationError),
        (celery.exceptions.OperationalError("x"), kernel.OperationalError),
        (celery.exceptions.ChordError("x"), own.ChordError),
        (celery.exceptions.Retry("m", ValueError("v"), 4), own.Retry),
    ):
        data = json.loads(json.dumps(backend.prepare_exception(exc)))
        assert type(decode_exception(data)) is wanted


def test_pickle_carries_the_error_itself_when_it_can() -> None:
    pytest.importorskip("umbel_serializer_pickle")
    exc = Loaded("x")
    assert encode_exception(exc, "pickle") is exc
    data = encode_exception(Loaded("x", lambda: None), "pickle")
    assert data["exc_type"] == "Loaded"
    assert data["exc_message"][0] == "x"


def test_the_remote_traceback_is_shown() -> None:
    exc = attach_traceback(ValueError("here"), "Traceback (most recent call last):\n  remote line\n")
    assert isinstance(exc.__cause__, RemoteTraceback)
    assert "remote line" in "".join(traceback.format_exception(exc))
    assert attach_traceback(exc, "another") is exc
    assert exc.__cause__.text.endswith("remote line\n")
    assert attach_traceback(ValueError("x"), None).__cause__ is None
