"""The chain: tasks that run one after another, each given the result of the one before."""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from umbel.canvas.chord import _chord, ends_in_group, first_of, follow
from umbel.canvas.composite import Composite, is_nothing
from umbel.canvas.group import group
from umbel.canvas.owned import post, run, settle
from umbel.canvas.parts import as_list, members_of, shorten, shown
from umbel.canvas.place import Place
from umbel.canvas.signature import Signature, maybe_signature
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
        if isinstance(first, _chain) and first.tasks:
            return _fold(_flat(first), [second], type(first), first._app, owned=True)
        return first | second

    def unchain_tasks(self) -> list[Any]:
        """Copies of the steps, with the chain's arguments and options on the first, its callbacks on the last and its
        errbacks on all."""
        return _flat(self.clone())

    def _steps(self) -> list[Any]:
        """The steps as they will run, with what the chain has for them: arguments, callbacks, errbacks.

        No chain is left inside, groups followed by something are chords, only the last step may be a group, and no
        chord's body is a chain: what follows the body's first task is a step of its own, so that the members of the
        header do not each carry all of it. They are its own and not copies: where somebody else has the chain, this is
        asked of a copy.
        """
        steps = self._unbroken()
        if steps:
            steps[-1] = steps[-1]._expanded()
        return steps

    def _unbroken(self) -> list[Any]:
        """The same, but for chunks at the end, which stay what they are until the chain is sent."""
        flat: list[Any] = []
        for task in self.tasks:
            flat += _flat(maybe_signature(task, app=self._app))
        if not flat:
            return [group(app=self._app)] if self.tasks else []
        flat[0]._give(self["args"])
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

    def _settle(self, task_id: str | None, place: Place, index: int | None) -> Any:
        """See ``Signature.freeze``; returns the last step's result, whose parents are those of the steps before.

        Raises:
            ValueError: the chain is empty, so it has no result.
        """
        if self._settled is None:
            self.tasks = self._steps()
            self["args"] = ()
            self["options"].pop("link", None)
            self["options"].pop("link_error", None)
            self._settled = _settle_all(self.tasks, self["options"].get("task_id") or task_id, place, index)
            self["options"]["task_id"] = self._settled.id
        else:
            settle(self.tasks[-1], None, place, index)
        return self._settled

    def _post(self, args: Any, kwargs: Any, options: dict[str, Any]) -> Any:
        """Send the first step, which carries the others; returns the last step's result, None for an empty chain.

        Args:
            args: put in front of those of the first step.
            options: for the first step; ``task_id`` is the last step's, and so is ``link``.
        """
        if self.app.conf.task_always_eager:
            with joins(True):
                return self._run(args, kwargs, options)
        _, _, options = self._merge(options=options)
        take = options.pop
        following = list(take("chain", None) or ())
        callbacks, errbacks = as_list(take("link", None)), as_list(take("link_error", None))
        last_id, group_id, index = take("task_id", None), take("group_id", None), take("group_index", None)
        place = Place(group_id, take("chord", None), options.get("root_id"))
        self["options"] = {}
        steps = self._steps()
        if not steps:
            return None
        if following and ends_in_group(steps[-1]):
            steps[-1] = follow(steps[-1], maybe_signature(following.pop(), app=self._app, clone=True))
        result = _settle_all(steps, last_id, place, index) if self._settled is None else self._settled
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
        sent = post(first, args, kwargs, options)
        return result if rest else sent

    def _run(self, args: Any, kwargs: Any, options: dict[str, Any]) -> Any:
        """Run the steps here and now; returns the last one's result, or that of the first which did not end well."""
        options = dict(options)
        for name, link in (("link", self.link), ("link_error", self.link_error)):
            for callback in as_list(options.pop(name, None)):
                link(callback)
        _, _, options = self._merge(options=options)
        options = {name: value for name, value in options.items() if name not in ("link", "link_error")}
        last_id = options.pop("task_id", None)
        steps = self._steps()
        last: Any = None
        for step in steps:
            if step is steps[-1] and last_id is not None:
                options["task_id"] = last_id
            if last is None:
                result = run(step, args, kwargs, options)
            else:
                with joins(True):
                    given = (last.get(),)
                result = run(step, given, {}, options)
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
        steps: list[Any] = step._unbroken()
        steps[0].set(**{name: value for name, value in step.options.items() if name not in _OF_THE_LAST})
        return steps
    if isinstance(step, group) and step.is_of_one():
        return _flat(next(step._members(**step._passed_on())))
    return [step]


def _in_order(flat: Iterable[Any]) -> list[Any]:
    steps: deque[Any] = deque()
    for step in reversed(list(flat)):
        if isinstance(step, _chord) and isinstance(step.body, _chain) and step.body.tasks:
            step.body, *rest = _flat(step.body)
            steps.extendleft(reversed(rest))
        if steps and ends_in_group(step):
            step = follow(step, steps.popleft())
        steps.appendleft(step)
    return list(steps)


# Options of a chain that are the last step's, or that are on the steps by now.
_OF_THE_LAST = frozenset(
    {"task_id", "group_id", "group_index", "chord", "link", "link_error", "root_id", "parent_id", "reply_to"}
)


def _settle_all(steps: list[Any], last_id: str | None, place: Place, index: int | None) -> Any:
    """Settle the ids of the steps of a chain; returns the last one's result, with the others as its parents."""
    if not steps:
        raise ValueError("an empty chain has no result: give it a task")
    result: Any = None
    inside = place.inside()
    for step in steps:
        if step is steps[-1]:
            settled = settle(step, last_id, place if result is None else place.later(), index)
        else:
            settled = settle(step, None, inside)
        # A chord's result has its header's as its parent; what ran before the chord is that one's.
        first_of(settled).parent = result
        result, inside = settled, Place(root_id=place.root_id)
    return result
