"""The chain: tasks that run one after another, each given the result of the one before."""

from __future__ import annotations

import functools
import operator
from collections import deque
from collections.abc import Iterable
from typing import Any

from umbel.canvas.chord import _chord, ends_in_group, first_of, follow, is_empty_group
from umbel.canvas.group import group
from umbel.canvas.signature import Signature, _given, as_list, maybe_signature, shorten
from umbel.model.current import joins
from umbel.model.states import IGNORED, REJECTED
from umbel.results.eager_result import EagerResult


@Signature.register_type("chain")
class _chain(Signature):
    """A chain as it is kept and sent; ``chain(...)`` makes one.

    Args:
        tasks: the steps, or one iterable of them.
        options: for the first step; ``link`` is the last step's, ``link_error`` every step's.
    """

    def __init__(self, *tasks: Any, **options: Any) -> None:
        steps = tasks[0] if len(tasks) == 1 and not isinstance(tasks[0], dict) else tasks
        app = options.pop("app", None)
        super().__init__("celery.chain", (), {"tasks": list(steps)}, options, subtask_type="chain", app=app)

    @property
    def tasks(self) -> list[Any]:
        """The steps."""
        return self["kwargs"]["tasks"]  # type: ignore[no-any-return]

    @tasks.setter
    def tasks(self, value: list[Any]) -> None:
        self["kwargs"]["tasks"] = value

    def _adopt(self) -> None:
        self.tasks = [maybe_signature(task, app=self._app) for task in self["kwargs"].get("tasks") or ()]

    def _separate(self) -> None:
        self.tasks = [maybe_signature(task, app=self._app, clone=True) for task in self.tasks]

    def _inner_app(self) -> Any:
        return next((task.app for task in self.tasks if isinstance(task, Signature)), None)

    # Composing

    @classmethod
    def compose(cls, first: Any, second: Any) -> Any:
        """What ``first | second`` is: a chain, or a chord where a group is followed by something."""
        if is_empty_group(second):
            return first
        if isinstance(second, group) and len(second.tasks) == 1:
            return cls.compose(first, maybe_signature(second.tasks[0], app=second._app))
        if isinstance(first, group):
            return _chord(first, body=second, app=first._app)
        if isinstance(first, _chord) and not isinstance(second, group | _chain):
            joined = first.clone()
            joined.body = joined.body | second
            return joined
        if not isinstance(first, _chain):
            return cls(first, *(second.unchain_tasks() if isinstance(second, _chain) else [second]), app=first._app)
        return _fold(first.unchain_tasks(), [second], type(first), first._app)

    def unchain_tasks(self) -> list[Any]:
        """Copies of the steps, with the chain's callbacks on the last and its errbacks on all."""
        steps = [maybe_signature(task, app=self._app, clone=True) for task in self.tasks]
        if steps:
            for callback in as_list(self["options"].get("link")):
                steps[-1].link(callback)
        for errback in as_list(self["options"].get("link_error")):
            for step in steps:
                step.link_error(errback)
        return steps

    def _steps(self, args: Any = None, kwargs: Any = None) -> list[Any]:
        """Copies of the steps as they will run.

        No chain is left inside, groups followed by something are chords, only the last step may be a group, and no
        chord's body is a chain: what follows the body's first task is a step of its own, so that the members of the
        header do not each carry all of it.
        """
        return _in_order(self.unchain_tasks(), args, kwargs)

    # Sending

    def freeze(
        self,
        _id: str | None = None,
        group_id: str | None = None,
        chord: Any = None,
        root_id: str | None = None,
        parent_id: str | None = None,
        group_index: int | None = None,
    ) -> Any:
        """See ``Signature.freeze``; returns the last step's result, whose parents are those of the steps before.

        Raises:
            ValueError: the chain is empty, so it has no result.
        """
        self.tasks = self._steps()
        self["options"].pop("link", None)
        self["options"].pop("link_error", None)
        last_id = self["options"].get("task_id") or _id
        result = _freeze(self.tasks, last_id, group_id, chord, root_id, parent_id, group_index)
        self["options"]["task_id"] = result.id
        return result

    _freeze = freeze

    def apply_async(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:  # type: ignore[override]
        """Send the first step, which carries the others; returns the last step's result, None for an empty chain.

        Args:
            args: put in front of those of the first step.
            task_id: the id of the last step.
            options: for the first step.
        """
        app = self.app
        if app.conf.task_always_eager:
            with joins(True):
                return self.apply(args, kwargs, **options)
        if self["immutable"]:
            args = kwargs = None
        _, _, options = self._merge(options=_given(options))
        take = options.pop
        following = list(take("chain", None) or ())
        callbacks, errbacks = as_list(take("link", None)), as_list(take("link_error", None))
        last_id, group_id, index = take("task_id", None), take("group_id", None), take("group_index", None)
        body, root_id, parent_id = take("chord", None), take("root_id", None), take("parent_id", None)
        unlinked = self.clone()
        unlinked["options"] = {}
        steps = unlinked._steps((*(args or ()), *self["args"]), kwargs)
        if not steps:
            return None
        if following and ends_in_group(steps[-1]):
            steps[-1] = follow(steps[-1], maybe_signature(following.pop(), app=self._app))
        result = _freeze(steps, last_id, group_id, body, root_id, None, index)
        for callback in callbacks:
            steps[-1].link(callback)
        for errback in errbacks:
            for step in steps:
                step.link_error(errback)
        first, *rest = steps
        # Celery's order: the worker takes the next step from the end.
        ahead = [*following, *reversed(rest)]
        if ahead:
            options["chain"] = ahead
        sent = first.apply_async(root_id=root_id, parent_id=parent_id, **options)
        return result if rest else sent

    def apply(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        """Run all steps here and now; returns the last one's result."""
        _, _, options = self._merge(options=_given(options))
        callbacks = as_list(options.pop("link", None))
        unlinked = self.clone()
        unlinked["options"] = {}
        steps = unlinked._steps((*(args or ()), *self["args"]), kwargs)
        last: Any = None
        for step in steps:
            if step is steps[-1]:
                for callback in callbacks:
                    step.link(callback)
            with joins(True):
                given = () if last is None else (last.get(),)
            result = step.apply(given, **options)
            first_of(result).parent = last
            last = result
            if isinstance(result, EagerResult) and result.state in (IGNORED, REJECTED):
                break
        return last

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Send it, with these arguments for the first step."""
        return self.apply_async(args, kwargs) if self.tasks else None

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        if not self.tasks:
            return "chain(<empty>)"
        return shorten(self.tasks[0]["task"], " | ".join(repr(task) for task in self.tasks))


class chain(_chain):
    """``chain(a, b, c)`` is ``a | b | c``: a chain, or a chord where a group is followed by a task.

    Args:
        tasks: the steps, or one iterable of them.
        options: for the first step. With options the steps are kept as they are until the chain is sent.
    """

    def __new__(cls, *tasks: Any, **options: Any) -> Any:
        steps: Iterable[Any] = tasks
        if len(tasks) == 1 and not isinstance(tasks[0], dict):
            steps = tasks[0]
        elif len(tasks) == 1 or not tasks or options:
            return super().__new__(cls)
        if options:
            return super().__new__(cls)
        composed = _fold([], list(steps), _chain, None)
        if cls is not chain and isinstance(composed, _chain) and not isinstance(composed, cls):
            made = super().__new__(cls)
            _chain.__init__(made, composed.tasks)
            return made
        return composed


def _fold(steps: list[Any], more: Iterable[Any], cls: type[_chain], app: Any) -> Any:
    """Put steps after others by the rules of ``|``, in one pass; a chain, or what has taken its place."""
    ahead = deque(more)
    while ahead:
        step = maybe_signature(ahead.popleft(), app=app)
        if not isinstance(step, Signature):
            raise TypeError(f"a chain is made of signatures, such as task.s(1), not of {type(step).__name__}")
        if isinstance(step, _chain):
            ahead.extendleft(reversed(step.unchain_tasks()))
        elif is_empty_group(step):
            continue
        elif isinstance(step, group) and len(step.tasks) == 1:
            ahead.appendleft(step.tasks[0])
        elif isinstance(step, group) and not steps:
            return functools.reduce(operator.or_, ahead, step)
        elif steps and isinstance(steps[-1], group):
            steps[-1] = _chord(steps[-1], body=step, app=app)
            if len(steps) > 1 and isinstance(steps[-2], _chord):
                last: Any = steps.pop()
                before: Any = steps[-1]
                before.body = before.body | last
        elif steps and isinstance(steps[-1], _chord) and not isinstance(step, _chord):
            steps[-1] = steps[-1].clone()
            steps[-1].body = steps[-1].body | step
        else:
            steps.append(step.clone())
    return cls(steps, app=app)


def _in_order(tasks: Iterable[Any], args: Any = None, kwargs: Any = None) -> list[Any]:
    ahead = deque(tasks)
    flat: list[Any] = []
    nothing: Any = None
    while ahead:
        step = ahead.popleft()._expanded()
        if isinstance(step, _chain):
            ahead.extendleft(reversed(step.unchain_tasks()))
        elif is_empty_group(step):
            nothing = step
        elif isinstance(step, group) and len(step.tasks) == 1:
            ahead.appendleft(maybe_signature(step.tasks[0], app=step._app, clone=True))
        else:
            flat.append(step)
    if not flat:
        return [] if nothing is None else [nothing]
    if args or kwargs:
        flat[0] = flat[0].clone(args, kwargs)
    steps: deque[Any] = deque()
    for step in reversed(flat):
        if isinstance(step, _chord) and isinstance(step.body, _chain) and step.body.tasks:
            begun = step.body
            first, *rest = begun._steps()
            first.set(**{name: value for name, value in begun.options.items() if name not in _HANDED_ON})
            step.body = first
            steps.extendleft(reversed(rest))
        if steps and ends_in_group(step):
            step = follow(step, steps.popleft())
        steps.appendleft(step)
    return list(steps)


# Options of a chain that are the last step's, or that are on the steps by now.
_HANDED_ON = frozenset(
    {"task_id", "group_id", "group_index", "chord", "link", "link_error", "root_id", "parent_id", "reply_to"}
)


def _freeze(
    steps: list[Any], last_id: Any, group_id: Any, chord: Any, root_id: Any, parent_id: Any, group_index: Any
) -> Any:
    if not steps:
        raise ValueError("an empty chain has no result: give it a task")
    result: Any = None
    for step in steps:
        if step is steps[-1]:
            frozen = step.freeze(last_id, group_id, chord, root_id, parent_id, group_index)
        else:
            frozen = step.freeze(root_id=root_id, parent_id=parent_id)
        # A chord's result has its header's as its parent; what ran before the chord is that one's.
        first_of(frozen).parent = result
        result, parent_id = frozen, None
    return result
