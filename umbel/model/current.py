"""Which app and which task are current, and proxies that follow them."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

_default_app: Any = None
_make_default: Callable[[], Any] | None = None
_lock = threading.RLock()
_thread_app: ContextVar[Any] = ContextVar("umbel_current_app", default=None)
_task_stack: ContextVar[tuple[Any, ...]] = ContextVar("umbel_task_stack", default=())
_joins_allowed: ContextVar[bool | None] = ContextVar("umbel_joins_allowed", default=None)


def set_default_factory(make: Callable[[], Any]) -> None:
    """Say how to make an app when one is wanted and none was made."""
    global _make_default
    _make_default = make


def set_default_app(app: Any) -> None:
    """Make an app the one that every thread without its own sees."""
    global _default_app
    _default_app = app


def set_current_app(app: Any) -> None:
    """Make an app current in this thread, and the default when there is none yet."""
    global _default_app
    with _lock:
        if _default_app is None:
            _default_app = app
    _thread_app.set(app)


def get_current_app() -> Any:
    """The current app: this thread's, else the default, else a new one with the default configuration."""
    app = _thread_app.get()
    if app is not None:
        return app
    global _default_app
    with _lock:
        if _default_app is None:
            if _make_default is None:
                raise RuntimeError("no app was made yet: app = Umbel('name') makes one")
            _default_app = _make_default()
        return _default_app


def push_task(task: Any, request: Any = None) -> Any:
    """Enter a task with its request; give what is returned to ``pop_task``."""
    return _task_stack.set((*_task_stack.get(), (task, request)))


def pop_task(token: Any) -> None:
    """Leave a task."""
    _task_stack.reset(token)


def get_current_task() -> Any:
    """The innermost task that runs, or None outside of tasks."""
    stack = _task_stack.get()
    return stack[-1][0] if stack else None


def get_outermost_task() -> Any:
    """The task that a worker runs, also inside a task called directly by it; None outside of tasks."""
    stack = _task_stack.get()
    return stack[0][0] if stack else None


def get_request(task: Any) -> Any:
    """The request with which a task runs here, or None when it does not run."""
    for running, request in reversed(_task_stack.get()):
        if running is task:
            return request
    return None


def get_outermost_request() -> Any:
    """The request of the task that a worker runs here, or None."""
    stack = _task_stack.get()
    return stack[0][1] if stack else None


@contextlib.contextmanager
def joins(allowed: bool) -> Iterator[None]:
    """Within it, waiting for results inside a task is allowed or not."""
    token = _joins_allowed.set(allowed)
    try:
        yield
    finally:
        _joins_allowed.reset(token)


def join_would_block() -> bool:
    """Whether waiting for a result here could block a worker's slot for ever: inside a task, unless allowed."""
    allowed = _joins_allowed.get()
    if allowed is not None:
        return not allowed
    request = get_outermost_request()
    return request is not None and not request.is_eager and not request.called_directly


class Proxy:
    """Stands for an object that is looked up at each use."""

    __slots__ = ("_look_up",)

    def __init__(self, look_up: Callable[[], Any]) -> None:
        object.__setattr__(self, "_look_up", look_up)

    def _get_current_object(self) -> Any:
        return object.__getattribute__(self, "_look_up")()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._get_current_object(), name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._get_current_object(), name, value)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._get_current_object()(*args, **kwargs)

    def __bool__(self) -> bool:
        return bool(self._get_current_object())

    def __repr__(self) -> str:
        return repr(self._get_current_object())

    def __eq__(self, other: object) -> bool:
        return bool(self._get_current_object() == other)

    def __hash__(self) -> int:
        return hash(self._get_current_object())


current_app = Proxy(get_current_app)
current_task = Proxy(get_current_task)
