"""The group: several tasks sent at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

from umbel.canvas.composite import Composite, is_nothing
from umbel.canvas.owned import post, run, settle
from umbel.canvas.parts import as_list, members_of, shorten
from umbel.canvas.place import Place
from umbel.canvas.signature import Signature, maybe_signature
from umbel.canvas.stamping import stamp_parts
from umbel.model.current import get_current_task
from umbel.model.ids import uuid
from umbel.results.group_result import GroupResult

_NOT_PASSED_ON = frozenset({"task_id", "group_id", "group_index", "chord", "chain", "link", "link_error"})


@Signature.register_type()
class group(Composite):
    """Tasks that run side by side. Its result is the list of theirs, in order.

    Args:
        tasks: signatures, or one iterable of them, or one group.
        options: for every one of them.
    """

    def __init__(self, *tasks: Any, **options: Any) -> None:
        members: Any = tasks
        if len(tasks) == 1:
            members = tasks[0]
            if isinstance(members, group):
                members = members.tasks
            elif isinstance(members, Signature):
                members = [members.clone()]
            elif isinstance(members, dict):
                members = [members]
        app = options.pop("app", None)
        super().__init__(
            "celery.group", (), {"tasks": members_of(members, "a group")}, options, subtask_type="group", app=app
        )

    def _members(self, **options: Any) -> Iterator[Any]:
        """All in it as they will run, those of groups inside it in their place; what holds no task is passed over.

        Its own arguments and errbacks are on them. They are its own and not copies: where somebody else has the group,
        this is asked of a copy.
        """
        errbacks = as_list(self["options"].get("link_error"))
        for task in self.tasks:
            member = maybe_signature(task, app=self._app)
            if is_nothing(member):
                continue
            member._give(self["args"])
            member = member._expanded()
            for errback in errbacks:
                member.link_error(errback)
            if isinstance(member, group):
                yield from member._members(**{**member._passed_on(), **options})
                continue
            if options:
                member["options"] = member._merge(options=options)[2]
            yield member

    def _passed_on(self) -> dict[str, Any]:
        return {name: value for name, value in self["options"].items() if name not in _NOT_PASSED_ON}

    def with_its_own(self) -> list[Any]:
        """Its tasks, with its arguments, errbacks and options, for what takes its place; where nobody else has it."""
        return list(self._members(**self._passed_on())) if self["args"] or self["options"] else self.tasks

    def alone(self) -> Any:
        """A copy of the one signature in it, when it is one task that several are not made of; else None."""
        copied = self.clone() if self.is_of_one() else None
        return copied and next(copied._members(**copied._passed_on()))

    def is_of_one(self) -> bool:
        """Whether it holds one task, which several are not made of."""
        present = [task for task in map(maybe_signature, self.tasks) if not is_nothing(task)]
        if self.of_items or len(present) != 1:
            return False
        return present[0].is_of_one() if isinstance(present[0], group) else present[0]._expanded() is present[0]

    def _unfold(self) -> list[Any]:
        self.tasks = list(self._members())
        self["args"] = ()
        self["options"].pop("link_error", None)
        return self.tasks

    def _settle(self, task_id: str | None, place: Place, index: int | None) -> Any:
        """See ``Signature.freeze``; returns a ``GroupResult``. Its members are numbered from 0 in their own group."""
        own_id = self["options"]["task_id"] = self["options"].get("task_id") or task_id or uuid()
        members = self._unfold() if self._settled is None else self.tasks
        results = [settle(member, None, place, number) for number, member in enumerate(members)]
        if self._settled is None:
            self._settled = GroupResult(own_id, results, app=self.app)
        return self._settled

    def _post(self, args: Any, kwargs: Any, options: dict[str, Any]) -> Any:
        """Send all in one batch; returns a ``GroupResult``.

        Raises:
            TypeError: callbacks were given, which a group as a whole has none of.
        """
        if "link" in options:
            raise TypeError("a group has no callback of its own: make it a chord, group | callback")
        if "link_error" in options:
            raise TypeError("a group has no errback of its own: call link_error on it, which links it to each task")
        app = self.app
        if app.conf.task_always_eager:
            return self._run(args, kwargs, options)
        _, _, options = self._merge(options=options)
        take = options.pop
        add_to_parent, following = take("add_to_parent", True), take("chain", None)
        if following:
            # What comes next waits for all of the group, which is what a chord is.
            whole: Any = self.TYPES["chord"]([], body=maybe_signature(following[-1], clone=True), app=self._app)
            whole.tasks = self.with_its_own()
            return post(whole, args, kwargs, {**options, "chain": following[:-1]})
        group_id = take("task_id", None) or uuid()
        place = Place(group_id, take("chord", None), options.get("root_id"))
        callbacks = as_list(take("link", None))
        for name in ("group_id", "group_index", "link_error", "producer"):
            take(name, None)
        members = self._unfold()
        results = [settle(member, None, place, number) for number, member in enumerate(members)]
        for callback in callbacks if members else ():
            members[0].link(callback)
        self._send_all(members, results, args, kwargs, options)
        result = self._result(group_id, results)
        if add_to_parent and results:
            add_trail = getattr(get_current_task(), "add_trail", None)
            if add_trail is not None:
                add_trail(result)
        return result

    def _send_all(
        self, members: list[Any], results: list[Any], args: Any, kwargs: Any, options: dict[str, Any]
    ) -> None:
        options = {**options, "add_to_parent": False}
        plain = [index for index, member in enumerate(members) if type(member) is Signature]
        with nullcontext() if len(plain) == len(members) else self.app.batching():
            if len(plain) > 1:
                calls = [(members[index].task, *members[index]._merge(args, kwargs, options)) for index in plain]
                for index, sent in zip(plain, self.app.send_many(calls), strict=True):
                    results[index].ignored = sent.ignored
            for index, member in enumerate(members):
                if type(member) is not Signature or len(plain) == 1:
                    sent = post(member, args, kwargs, options)
                    results[index].ignored = getattr(sent, "ignored", False)

    def _run(self, args: Any, kwargs: Any, options: dict[str, Any]) -> Any:
        """Run all here and now, one after another; returns a ``GroupResult``."""
        _, _, options = self._merge(options=options)
        group_id = options.pop("task_id", None) or uuid()
        options = {name: value for name, value in options.items() if name not in ("link", "link_error")}
        results = []
        for index, member in enumerate(self._members()):
            member.options.setdefault("group_id", group_id)
            member.options["group_index"] = index
            results.append(run(member, args, kwargs, options))
        return self._result(group_id, results)

    def _result(self, group_id: str, results: list[Any]) -> Any:
        if len(results) == 1 and isinstance(results[0], GroupResult):
            # The one result of a group of a single chain that ends in a group is that group's.
            return results[0]
        return GroupResult(group_id, results, app=self.app)

    def stamp(self, visitor: Any = None, append_stamps: bool = False, **headers: Any) -> Any:
        """Stamp its tasks; see ``Signature.stamp``."""
        self.tasks = [maybe_signature(task, app=self._app) for task in self.tasks]
        stamp_parts(self, self.tasks, visitor, append_stamps, headers, "group")
        return self

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Send all, with these arguments put in front of theirs."""
        return self.apply_async(args, **options)

    def skew(self, start: float = 1.0, stop: float | None = None, step: float = 1.0) -> group:
        """Let the tasks start one after another: countdowns from ``start`` in steps, no more than ``stop``."""
        for index, task in enumerate(self.tasks):
            countdown = start + index * step
            task.set(countdown=countdown if stop is None else min(countdown, stop))
        return self

    def set_immutable(self, immutable: bool) -> None:
        """Say whether its tasks take further arguments."""
        for task in self.tasks:
            task.set_immutable(immutable)

    def link(self, callback: Any) -> Any:
        """Link a callback to the first task. It does not wait for the others, so it is given no result."""
        return self.tasks[0].link(callback.clone().set(immutable=True))

    def link_error(self, errback: Any) -> Any:
        """Link an errback to each task; returns the errbacks linked."""
        errback = maybe_signature(errback)
        return tuple(task.link_error(errback.clone()) for task in self.tasks)

    def __len__(self) -> int:
        return len(self.tasks)

    def __repr__(self) -> str:
        if not self.tasks:
            return "group(<empty>)"
        return shorten(self.tasks[0]["task"], f"group({self.tasks!r})")
