"""The chain: tasks that run one after another, each given the result of the one before."""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from umbel.canvas.chord import _chord, ends_in_group, first_of, follow
from umbel.canvas.composite import Composite, is_nothing
from umbel.canvas.group import group
from umbel.canvas.parts import as_list, members_of, shorten, shown
from umbel.canvas.signature import Signature, _given, maybe_signature
from umbel.canvas.stamping import stamp_parts
from umbel.model.current import joins
from umbel.model.states import SUCCESS
from umbel.results.eager_result import EagerResult
from umbel.wire.embedded import check_embedded


@Signature.register_type("chain")
class _chain(Composite):
    """A chain as it is kept and sent; ``chain(...)`` makes one.

    Args:
        tasks: the steps, or one iterable of them.
        options: for the first step; ``link`` is the last step's, ``link_error`` every step's.
    """

    def __init__(self, *tasks: Any, **options: Any) -> None:
        steps: Any = tasks[0] if len(tasks) == 1 and not isinstance(tasks[0], dict) else tasks
        app = options.pop("app", None)
        super().__init__(
            "celery.chain", (), {"tasks": members_of(steps, "a chain")}, options, subtask_type="chain", app=app
        )

    # Composing

    @classmethod
    def compose(cls, first: Any, second: Any) -> Any:
        """What ``first | second`` is: a chain, or a chord where a group is followed by something."""
        if is_nothing(second):
            return first
        if is_nothing(first):
            return _fold([], [second], cls, first._app)
        alone = second.alone() if isinstance(second, group) else None
        if alone is not None:
            return cls.compose(first, alone)
        if isinstance(first, group):
            return _chord(first, body=second, app=first._app)
        if isinstance(first, _chord) and not isinstance(second, group | _chain):
            joined = first.clone()
            joined.body = joined.body | second
            return joined
        if not isinstance(first, _chain):
            return cls(first, *(second.unchain_tasks() if isinstance(second, _chain) else [second]), app=first._app)
        return _fold(first.unchain_tasks(), [second], type(first), first._app)

    @classmethod
    def extend(cls, first: Any, second: Any) -> Any:
        """``first | second`` where nobody else has either: both may be changed, where ``|`` makes copies. So a row of
        groups and tasks, each of which is in the body of a chord in the body of the one before, is built in one pass.
        """
        if isinstance(first, _chord) and not isinstance(second, group | _chain) and not is_nothing(second):
            first.body = cls.extend(first.body, second)
            return first
        if isinstance(first, _chain) and first.tasks and not first._has_its_own():
            return _fold(first.tasks, [second], type(first), first._app, owned=True)
        return first | second

    def unchain_tasks(self) -> list[Any]:
        """Copies of the steps, with the chain's callbacks on the last and its errbacks on all."""
        if self._has_its_own():
            return self._unbroken()
        return [maybe_signature(task, app=self._app, clone=True) for task in self.tasks]

    def _has_its_own(self) -> bool:
        """Whether the chain has arguments, callbacks or errbacks, which are its steps' in the end."""
        options = self["options"]
        return bool(self["args"] or self["immutable"] or options.get("link") or options.get("link_error"))

    def _steps(self) -> list[Any]:
        """Copies of the steps as they will run, with what the chain has for them: arguments, callbacks, errbacks.

        No chain is left inside, groups followed by something are chords, only the last step may be a group, and no
        chord's body is a chain: what follows the body's first task is a step of its own, so that the members of the
        header do not each carry all of it.
        """
        steps = self._unbroken()
        if steps:
            steps[-1] = steps[-1]._expanded()
        return steps

    def _unbroken(self) -> list[Any]:
        """The same, but for chunks at the end, which stay what they are until the chain is sent."""
        flat: list[Any] = []
        for task in self.tasks:
            flat += _flat(maybe_signature(task, app=self._app, clone=True))
        if not flat:
            return [group(app=self._app)] if self.tasks else []
        if self["args"]:
            flat[0] = flat[0].clone(self["args"])
        if self["immutable"]:
            flat[0].set_immutable(True)
        steps = _in_order(flat)
        for callback in as_list(self["options"].get("link")):
            steps[-1].link(callback)
        for errback in as_list(self["options"].get("link_error")):
            for step in steps:
                step.link_error(errback)
        return steps

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
        self["args"] = ()
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
        _, _, options = self._merge(options=_given(options))
        take = options.pop
        following = list(take("chain", None) or ())
        callbacks, errbacks = as_list(take("link", None)), as_list(take("link_error", None))
        last_id, group_id, index = take("task_id", None), take("group_id", None), take("group_index", None)
        body, root_id, parent_id = take("chord", None), take("root_id", None), take("parent_id", None)
        unlinked = self.clone()
        unlinked["options"] = {}
        steps = unlinked._steps()
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
            check_embedded({"chain": ahead}, self.TYPES, first.task)
            options["chain"] = ahead
        sent = first.apply_async(args, kwargs, root_id=root_id, parent_id=parent_id, **options)
        return result if rest else sent

    def apply(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        """Run the steps here and now; returns the last one's result, or that of the first which did not end well."""
        whole = self.clone()
        for name, link in (("link", whole.link), ("link_error", whole.link_error)):
            for callback in as_list(options.pop(name, None)):
                link(callback)
        _, _, options = self._merge(options=_given(options))
        options = {name: value for name, value in options.items() if name not in ("link", "link_error")}
        last_id = options.pop("task_id", None)
        steps = whole._steps()
        last: Any = None
        for step in steps:
            if step is steps[-1] and last_id is not None:
                options["task_id"] = last_id
            if last is None:
                result = step.apply(args, kwargs, **options)
            else:
                with joins(True):
                    given = (last.get(),)
                result = step.apply(given, **options)
            first_of(result).parent = last
            last = result
            if isinstance(result, EagerResult):
                if result.state != SUCCESS:
                    break
                options = {**options, "root_id": options.get("root_id") or result.id, "parent_id": result.id}
        return last

    def stamp(self, visitor: Any = None, append_stamps: bool = False, **headers: Any) -> Any:
        """Stamp its tasks; see ``Signature.stamp``."""
        self.tasks = [maybe_signature(task, app=self._app) for task in self.tasks]
        stamp_parts(self, self.tasks, visitor, append_stamps, headers, "chain")
        return self

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Send it, with these arguments for the first step."""
        return self.apply_async(args, kwargs) if self.tasks else None

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
        composed = _fold([], members_of(steps, "a chain"), _chain, None)
        if cls is not chain and isinstance(composed, _chain) and not isinstance(composed, cls):
            made = super().__new__(cls)
            _chain.__init__(made, composed.tasks)
            return made
        return composed


def _fold(steps: list[Any], more: Iterable[Any], cls: type[_chain], app: Any, *, owned: bool = False) -> Any:
    """Put steps after others by the rules of ``|``, in one pass; a chain, or what has taken its place.

    Args:
        steps: nobody else has them, so they may be changed.
        owned: whether nobody else has the others either.
    """
    ahead = deque(more)
    own: Callable[[Any], Any] = _itself if owned else _copy
    while ahead:
        step = maybe_signature(ahead.popleft(), app=app)
        if not isinstance(step, Signature):
            raise TypeError(f"a chain is made of signatures, such as task.s(1), not of {shown(step)}")
        if isinstance(step, _chain):
            ahead.extendleft(reversed(step.unchain_tasks()))
        elif is_nothing(step):
            continue
        elif isinstance(step, group) and (alone := step.alone()) is not None:
            ahead.appendleft(alone)
        elif isinstance(step, group) and not steps:
            return functools.reduce(_then, ahead, own(step))
        elif steps and isinstance(steps[-1], group):
            steps[-1] = _chord(steps[-1], body=own(step), app=app)
            if len(steps) > 1 and isinstance(steps[-2], _chord):
                last: Any = steps.pop()
                before: Any = steps[-1]
                before.body = cls.extend(before.body, last)
        elif steps and isinstance(steps[-1], _chord) and not isinstance(step, _chord):
            steps[-1].body = cls.extend(steps[-1].body, own(step))
        else:
            steps.append(own(step))
    return cls(steps, app=app)


def _itself(step: Any) -> Any:
    return step


def _copy(step: Any) -> Any:
    return step.clone()


def _then(first: Any, second: Any) -> Any:
    """``first | second``, where ``first`` may be changed."""
    return _chain.extend(first, second.clone()) if isinstance(second, Signature) else first | second


def _flat(step: Any) -> list[Any]:
    """The steps that a step of a chain stands for: those of a chain, the one task of a group of one, itself."""
    if is_nothing(step):
        return []
    if isinstance(step, _chain):
        return step._unbroken()
    alone = step.alone() if isinstance(step, group) else None
    return [step] if alone is None else _flat(alone)


def _in_order(flat: Iterable[Any]) -> list[Any]:
    steps: deque[Any] = deque()
    for step in reversed(list(flat)):
        if isinstance(step, _chord) and isinstance(step.body, _chain) and step.body.tasks:
            begun = step.body
            first, *rest = begun._unbroken()
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
