"""Errors on the wire: an error's class by name and its arguments, as Celery 5.7 writes and reads them.

The form is that of ``celery.backends.base.Backend.prepare_exception``: ``exc_type`` (the qualified name of the class),
``exc_message`` (its arguments) and ``exc_module``. Umbel's own errors travel under Celery's names, so that a Celery
client gets the class that it knows, and Celery's names come in as umbel's classes.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from umbel.model import exceptions as own
from umbel.model.brief import brief
from umbel.model.forking import load
from umbel_kernel import errors as kernel
from umbel_kernel.errors import ContentError

_CELERY = "celery.exceptions"
_BILLIARD = "billiard.exceptions"
_KOMBU = "kombu.exceptions"

_SAME_NAME: dict[str, tuple[type[BaseException], ...]] = {
    _CELERY: (
        own.Retry, own.Ignore, own.Reject, own.TaskError, own.TaskPredicate, own.NotRegistered, own.AlreadyRegistered,
        own.InvalidTaskError, own.QueueNotFound, own.IncompleteStream, own.TimeoutError, own.MaxRetriesExceededError,
        own.TaskRevokedError, own.ChordError, own.SecurityError, kernel.BackendError,
    ),
    _BILLIARD: (
        kernel.SoftTimeLimitExceeded, kernel.TimeLimitExceeded, kernel.WorkerLostError, kernel.Terminated,
    ),
    _KOMBU: (kernel.OperationalError, kernel.EncodeError, kernel.DecodeError),
}  # fmt: skip

_NAMES: dict[type[BaseException], tuple[str, str]] = {
    cls: (module, cls.__name__) for module, classes in _SAME_NAME.items() for cls in classes
} | {
    kernel.ConfigurationError: (_CELERY, "ImproperlyConfigured"),
    kernel.UmbelError: (_CELERY, "CeleryError"),
    kernel.ContentRefused: (_KOMBU, "ContentDisallowed"),
}
_CLASSES = {name: cls for cls, name in _NAMES.items()}

# Celery re-exports these from billiard and kombu, and a sender may name either place.
_CLASSES |= {(_CELERY, cls.__name__): cls for cls in (*_SAME_NAME[_BILLIARD], kernel.OperationalError)}

_PLAIN = (str, int, float, bool, type(None))
_LONGEST_NAME = 255
_STAND_INS = 1024


class RemoteTraceback(Exception):
    """The traceback of an error that happened in a worker; the cause of that error at the caller."""

    def __init__(self, text: str) -> None:
        self.text = text
        super().__init__(text)

    def __str__(self) -> str:
        return f'\n"""\n{self.text.rstrip()}\n"""'


def encode_exception(exc: BaseException, serializer: str) -> Any:
    """An error in the form in which a result document holds it.

    Args:
        serializer: the name of the serializer that the document will be written with. One that carries objects whole
            (it is not ``trusted``) gets the error itself when it comes back out of it; any other gets a dict of plain
            values, in which an argument that the serializer cannot write is replaced by its ``repr``.

    Raises:
        PluginNotFound: there is no such serializer.
    """
    codec = _codec(serializer)
    if not codec.trusted and _survives(exc, codec):
        return exc
    cls = type(exc)
    module, name = _NAMES.get(cls) or (cls.__module__, cls.__qualname__)
    return {"exc_type": name, "exc_message": _plain_arguments(exc, codec.dumps), "exc_module": module}


def decode_exception(data: Any) -> BaseException:
    """The error that ``encode_exception``, or a Celery worker, has written.

    A class named in it is used only when its module is loaded here and it is a subclass of Exception; nothing is
    imported. Otherwise the error is of a stand-in class: a subclass of ``RemoteError`` that bears the name.
    """
    if isinstance(data, BaseException):
        return data
    if not isinstance(data, Mapping) or not isinstance(data.get("exc_type"), str):
        return own.RemoteError(data if isinstance(data, str) else brief(data))
    name = data["exc_type"]
    module = data.get("exc_module")
    if not isinstance(module, str):
        module = "builtins" if module is None else brief(module)
    arguments = data.get("exc_message", ())
    if not isinstance(arguments, list | tuple):
        arguments = (arguments,)
    cls = _CLASSES.get((module, name)) or _loaded(module, name) or _stand_in(module, name)
    return _make(cls, tuple(arguments))


def attach_traceback(exc: BaseException, text: str | None) -> BaseException:
    """Let a remote traceback be shown where ``exc`` is raised: as its ``__cause__``, unless it has one."""
    if text and exc.__cause__ is None:
        exc.__cause__ = RemoteTraceback(str(text))
    return exc


@functools.cache
def _codec(serializer: str) -> Any:
    return load("serializers", serializer)()


def _survives(exc: BaseException, codec: Any) -> bool:
    try:
        return type(codec.loads(codec.dumps(exc))) is type(exc)
    except Exception:
        # An error's own reduction and construction may raise anything; the plain form is always possible.
        return False


def _plain_arguments(exc: BaseException, dumps: Callable[[Any], bytes]) -> tuple[Any, ...]:
    if isinstance(exc, own.Retry):
        return exc.message, None if exc.exc is None else brief(exc.exc), _writable(exc.when, dumps)
    return tuple(_writable(argument, dumps) for argument in exc.args)


def _writable(value: Any, dumps: Callable[[Any], bytes]) -> Any:
    if type(value) in _PLAIN:
        return value
    try:
        dumps(value)
    except ContentError:
        return brief(value)
    return value


def _loaded(module: str, name: str) -> type[BaseException] | None:
    """A class by name where it is loaded; reads dictionaries alone, so that no ``__getattr__`` imports anything."""
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        members = getattr(found, "__dict__", None)
        found = members.get(part) if isinstance(members, Mapping) else None
        if not isinstance(found, type):
            return None
    return found if issubclass(found, Exception) else None


def _stand_in(module: str, name: str) -> type[BaseException]:
    parts = name.split(".")
    fit = len(module) <= _LONGEST_NAME and len(name) <= _LONGEST_NAME
    if not fit or not all(part.isidentifier() or part == "<locals>" for part in parts):
        return own.RemoteError
    return _named_stand_in(module, name)


@functools.lru_cache(maxsize=_STAND_INS)
def _named_stand_in(module: str, name: str) -> type[BaseException]:
    members = {"__module__": module, "__qualname__": name, "__reduce__": _reduce_stand_in}
    return type(name.rpartition(".")[2], (own.RemoteError,), members)


def _reduce_stand_in(exc: BaseException) -> tuple[Any, ...]:
    cls = type(exc)
    return _remake_stand_in, (cls.__module__, cls.__qualname__, exc.args)


def _remake_stand_in(module: str, name: str, arguments: Sequence[Any]) -> BaseException:
    return _make(_stand_in(module, name), tuple(arguments))


def _make(cls: type[BaseException], arguments: tuple[Any, ...]) -> BaseException:
    made: Any
    try:
        made = cls(*arguments)
    except Exception:
        # The class wants other arguments than those it kept in ``args``; its instance is made without asking it.
        made = None
    if isinstance(made, cls):
        return made
    try:
        bare = BaseException.__new__(cls)
    except TypeError:
        # A class written in C whose instances hold more than Python knows of, such as pydantic's ValidationError.
        bare = _stand_in(cls.__module__, cls.__qualname__)(*arguments)
    bare.args = arguments
    return bare
