"""The chord: a task that is given the results of a whole group."""

from __future__ import annotations

from typing import Any

from umbel.canvas.composite import is_nothing
from umbel.canvas.follow_up import fail_body_eagerly, header_error
from umbel.canvas.group import group
from umbel.canvas.parts import as_list, members_of, shorten, shown
from umbel.canvas.signature import Signature, _given, maybe_signature, signature
from umbel.canvas.stamping import collect, stamp_parts
from umbel.model.current import joins
from umbel.model.ids import uuid
from umbel.model.states import FAILURE
from umbel.results.eager_result import EagerResult
from umbel.results.group_result import GroupResult
from umbel.wire.embedded import check_embedded
from umbel_kernel.spi.backend import BackendCapability

ACCUMULATE = "celery.accumulate"
UNLOCK = "celery.chord_unlock"

_OF_THE_UNLOCKER = ("interval", "max_retries")
_OF_THE_HEADER = ("countdown", "eta")
_NOT_OF_THE_BODY = ("parent_id", "add_to_parent")
_OF_THE_BODY = ("chord", "chain", "group_id", "group_index")


@Signature.register_type("chord")
class _chord(Signature):
    """A header of tasks that run side by side, and a body that is sent with the list of their results.

    Args:
        header: the tasks: a group, a list, a generator.
        body: the signature that gets the results.
        options: for the header and the body; callbacks are the body's.
    """

    def __init__(
        self,
        header: Any,
        body: Any = None,
        task: str = "celery.chord",
        args: Any = None,
        kwargs: Any = None,
        app: Any = None,
        **options: Any,
    ) -> None:
        super().__init__(
            task,
            args,
            {**(kwargs or {"kwargs": {}}), "header": _tasks_of(header, app), "body": _body_of(body, app)},
            options,
            subtask_type="chord",
            app=app,
        )

    @property
    def tasks(self) -> Any:
        """The signatures of the header."""
        return self["kwargs"]["header"]

    @tasks.setter
    def tasks(self, value: Any) -> None:
        # A user's visitor may turn the header into a group, as Celery's does.
        self["kwargs"]["header"] = value.tasks if isinstance(value, group) else value

    @property
    def body(self) -> Any:
        """The signature that gets the results."""
        return self["kwargs"]["body"]

    @body.setter
    def body(self, value: Any) -> None:
        self["kwargs"]["body"] = value

    def _adopt(self) -> None:
        self.tasks = _tasks_of(self["kwargs"].get("header") or [], self._app, wire=True)
        self.body = _body_of(self["kwargs"].get("body"), self._app)

    def _separate(self) -> None:
        self.tasks = [maybe_signature(task, app=self._app, clone=True) for task in self.tasks]
        self.body = maybe_signature(self.body, app=self._app, clone=True)

    def _inner_app(self) -> Any:
        parts = (*self.tasks, self.body)
        return next((part.app for part in parts if isinstance(part, Signature)), None)

    def _header(self) -> group:
        """The header as a group, in which each member counts once."""
        members = [as_one(member) for member in group(self.tasks, app=self._app)._members()]
        return group(members, app=self._app, task_id=self["options"].get("task_id") or uuid())

    def freeze(
        self,
        _id: str | None = None,
        group_id: str | None = None,
        chord: Any = None,
        root_id: str | None = None,
        parent_id: str | None = None,
        group_index: int | None = None,
    ) -> Any:
        """See ``Signature.freeze``; returns the body's result, whose parent is the header's."""
        header = self._header()
        header_result = header.freeze(root_id=root_id, parent_id=parent_id)
        self.tasks = header.tasks
        self["options"]["task_id"] = header_result.id
        self.body = self.body._expanded()
        body_result = self.body.freeze(_id, group_id=group_id, chord=chord, root_id=root_id, group_index=group_index)
        first_of(body_result).parent = header_result
        return body_result

    _freeze = freeze

    def apply_async(  # type: ignore[override]
        self, args: Any = None, kwargs: Any = None, task_id: str | None = None, **options: Any
    ) -> Any:
        """Send the header; returns the body's result, whose parent is the header's.

        Args:
            args: put in front of those of the header's tasks.
            kwargs: ``body`` is the body, if the chord has none; the others go to the header's tasks.
            task_id: the id of the body.
            options: for header and body; ``countdown`` and ``eta`` delay the header, ``link`` and ``link_error`` are
                the body's, ``interval`` and ``max_retries`` say how a store that cannot count is polled.

        Raises:
            NotSupported: the result backend cannot be used for chords.
            ConfigurationError: there is no result backend.
        """
        app = self.app
        kwargs = dict(kwargs or {})
        body = _body_of(kwargs.pop("body", None) or self.body, self._app)
        if body is None:
            raise TypeError("a chord is sent with a body: chord(header, body) or chord(header)(body)")
        body = body.clone()._expanded()
        kwargs = {**self["kwargs"].get("kwargs", {}), **kwargs}
        _, _, options = self._merge(options=_given(options))
        header_id = options.pop("task_id", None)
        for callback in as_list(options.pop("link", None)):
            body.link(callback)
        for errback in as_list(options.pop("link_error", None)):
            body.link_error(errback)
        if app.conf.task_always_eager:
            with joins(True):
                return self.apply(args, kwargs, body=body, task_id=task_id, **options)
        app.backend.ensure_chords_allowed()
        args = self._merge(args)[0]
        unlocking = {name: options.pop(name) for name in _OF_THE_UNLOCKER if name in options}
        delays = {name: options.pop(name) for name in _OF_THE_HEADER if name in options}
        ending = {name: options.pop(name) for name in _OF_THE_BODY if name in options}
        following = ending.pop("chain", None)
        if following:
            body.options["chain"] = [*following, *body.options.get("chain", ())]
        body.options.update({name: value for name, value in options.items() if name not in _NOT_OF_THE_BODY})
        body_result = body.freeze(task_id or header_id, root_id=options.get("root_id"), **ending)
        header = self._header()
        if header_id:
            header.options["task_id"] = header_id
        size = len(header.tasks)
        if not size:
            body.apply_async(([],))
            first_of(body_result).parent = GroupResult(header.id, [], app=app)
            return body_result
        body["chord_size"] = size
        for member in ("subtask_type", "immutable"):
            # Whoever reads it takes what is missing for what these say, and each task of the header carries the body.
            if not body[member]:
                del body[member]
        check_embedded({"chord": body}, self.TYPES, f"a task before {body['task']}")
        app.backend.begin_chord(header.options["task_id"], size)
        header_result = header.apply_async(args, kwargs, chord=body, **{**options, **delays})
        if not app.backend.can(BackendCapability.CHORDS):
            self._watch(header_result, body, unlocking)
        first_of(body_result).parent = header_result
        return body_result

    def _watch(self, header_result: Any, body: Any, unlocking: dict[str, Any]) -> None:
        """Send the task that looks, over and over, whether the header is complete."""
        places = {name: body.options[name] for name in ("queue", "exchange", "routing_key") if name in body.options}
        self.app.send_task(
            UNLOCK,
            (header_result.id, body),
            {"result": [result.as_tuple() for result in header_result.results], **unlocking},
            countdown=unlocking.get("interval") or self.app.conf.result_chord_retry_interval,
            **places,
        )

    def apply(
        self, args: Any = None, kwargs: Any = None, propagate: bool = True, body: Any = None, **options: Any
    ) -> Any:
        """Run the header and then the body here and now; returns the body's ``EagerResult``.

        Args:
            propagate: let the body fail when a task of the header did; else its error stands among the results.
        """
        body = _body_of(self.body if body is None else body, self._app).clone()._expanded()
        _, _, options = self._merge(options=_given(options))
        for callback in as_list(options.get("link")):
            body.link(callback)
        for errback in as_list(options.get("link_error")):
            body.link_error(errback)
        if options.get("task_id"):
            body.options.setdefault("task_id", options["task_id"])
        header_result = self._header().apply(
            self._merge(args)[0], {**self["kwargs"].get("kwargs", {}), **(kwargs or {})}
        )
        failed = next((result for result in header_result.results if result.failed()), None) if propagate else None
        if failed is not None:
            error = header_error(header_result.id, failed.result, failed.id)
            body_id = body.options.setdefault("task_id", uuid())
            fail_body_eagerly(self.app, body, error)
            result = EagerResult(body_id, error, FAILURE, name=body.task)
        else:
            with joins(True):
                values = header_result.get(propagate=propagate)
            result = body.apply(args=(values,))
        first_of(result).parent = header_result
        return result

    def stamp(self, visitor: Any = None, append_stamps: bool = False, **headers: Any) -> Any:
        """Stamp its header's tasks and its body; see ``Signature.stamp``. What the header gets, the body gets too."""
        stamps = stamp_parts(self, self.tasks, visitor, append_stamps, headers, "chord_header")
        if self.body is not None and visitor is not None:
            visited = visitor.on_chord_body(self, **stamps) or {}
            stamps = collect(stamps, visited, self["options"], append_stamps)
            self.body.stamp(visitor, append_stamps, **stamps)
        return self

    def __call__(self, body: Any = None, **options: Any) -> Any:
        """Send the header, with this body if one is given."""
        return self.apply_async((), {"body": body} if body is not None else {}, **options)

    def link(self, callback: Any) -> Any:
        """Link a callback to the body."""
        self.body.link(callback)
        return callback

    def link_error(self, errback: Any) -> Any:
        """Link an errback to the body, and with ``task_allow_error_cb_on_chord_header`` to the header's tasks too."""
        errback = maybe_signature(errback)
        if self.app.conf.task_allow_error_cb_on_chord_header:
            for task in self.tasks:
                task.link_error(errback.clone())
        self.body.link_error(errback)
        return errback

    def set_immutable(self, immutable: bool) -> None:
        """Say whether the header's tasks take further arguments."""
        for task in self.tasks:
            task.set_immutable(immutable)

    def __length_hint__(self) -> int:
        return len(self._header().tasks)

    def __repr__(self) -> str:
        if self.body is None:
            return f"<chord without body: {self.tasks!r}>"
        steps = self.body.tasks if self.body.subtask_type == "chain" and self.body.tasks else [self.body]
        first = steps[0]
        shown = " | ".join([first.reprcall(self.tasks), *(repr(step) for step in steps[1:])])
        return "%" + shorten(first["task"], f"({shown})" if len(steps) > 1 else shown)


chord = _chord


def ends_in_group(sig: Any) -> bool:
    """Whether several tasks, and not one, end a signature."""
    sig = sig._expanded()
    if isinstance(sig, group):
        return True
    if isinstance(sig, _chord):
        return ends_in_group(sig.body)
    if sig.subtask_type == "chain":
        present = [task for task in map(maybe_signature, sig.tasks) if not is_nothing(task)]
        last = present[-1] if present else None
        if isinstance(last, group):
            last = last.alone() or last
        return last is not None and ends_in_group(last)
    return False


def follow(sig: Any, after: Any) -> Any:
    """The signature that runs ``after`` when all of ``sig`` has ended."""
    sig = sig._expanded()
    if isinstance(sig, _chord):
        sig.body = follow(sig.body, after)
        return sig
    if isinstance(sig, group):
        return _chord(sig, body=after, app=sig._app)
    return sig | after


def as_one(sig: Any) -> Any:
    """A signature that ends in one task, so that it has one result and reports once to a chord.

    One that ends in a group is followed by a task that gathers the group's results into a list.
    """
    return follow(sig, Signature(ACCUMULATE, kwargs={"index": 0}, app=sig._app)) if ends_in_group(sig) else sig


def first_of(result: Any) -> Any:
    """The result that all of a chain of results began with."""
    while result.parent is not None:
        result = result.parent
    return result


def _body_of(body: Any, app: Any) -> Any:
    body = maybe_signature(body, app=app)
    if body is not None and not isinstance(body, Signature):
        raise TypeError(f"the body of a chord is a signature, such as task.s(1), not {shown(body)}")
    return body


def _tasks_of(header: Any, app: Any, *, wire: bool = False) -> list[Any]:
    if isinstance(header, dict):
        header = maybe_signature(header, app=app)
        if isinstance(header, group):
            header = header.with_its_own()
        elif header.subtask_type == "chain":
            header = header.tasks
        else:
            header = [header]
    members = members_of(header, "the header of a chord", names=True, wire=wire)
    return [maybe_signature(task, app=app) if type(task) is dict else signature(task, app=app) for task in members]
