"""The chord: a task that is given the results of a whole group."""

from __future__ import annotations

from typing import Any

from umbel.canvas.composite import is_nothing
from umbel.canvas.follow_up import fail_body_eagerly, header_error
from umbel.canvas.group import group
from umbel.canvas.owned import post, run, settle
from umbel.canvas.parts import as_list, members_of, shorten, shown
from umbel.canvas.place import Place
from umbel.canvas.signature import Signature, maybe_signature, signature
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

    def _owned(self) -> Any:
        return self.clone()

    def _separate(self) -> None:
        self._settled = None
        self.tasks = [maybe_signature(task, app=self._app, clone=True) for task in self.tasks]
        self.body = maybe_signature(self.body, app=self._app, clone=True)

    def _inner_app(self) -> Any:
        parts = (*self.tasks, self.body)
        return next((part.app for part in parts if isinstance(part, Signature)), None)

    def _header(self) -> group:
        """The header as a group in which each member counts once, where nobody else has the chord."""
        whole = group(self.tasks, app=self._app, task_id=self["options"].get("task_id") or uuid())
        whole.tasks = self.tasks = [as_one(member) for member in whole._members()]
        return whole

    def _body_for(self, given: Any) -> Any:
        """The body to send: one that is given goes over the chord's own."""
        body = self.body if given is None else _body_of(given, self._app).clone()
        if body is None:
            raise TypeError("a chord is sent with a body: chord(header, body) or chord(header)(body)")
        return body._expanded()

    def _settle(self, task_id: str | None, place: Place, index: int | None) -> Any:
        """See ``Signature.freeze``; returns the body's result, whose parent is the header's."""
        if self._settled is None:
            header_result = self._header()._settle(None, place.inside(), None)
            self["options"]["task_id"] = header_result.id
            self.body = self.body._expanded()
            self._settled = settle(self.body, task_id, place.later(), index)
            first_of(self._settled).parent = header_result
        else:
            settle(self.body, None, place.later(), index)
        return self._settled

    def _post(self, args: Any, kwargs: Any, options: dict[str, Any]) -> Any:
        """Send the header; returns the body's result, whose parent is the header's.

        Args:
            args: put in front of those of the header's tasks.
            kwargs: ``body`` is the body, if the chord has none; the others go to the header's tasks.
            options: for header and body; ``countdown`` and ``eta`` delay the header, ``task_id``, ``link`` and
                ``link_error`` are the body's, ``interval`` and ``max_retries`` say how a store that cannot count is
                polled.

        Raises:
            NotSupported: the result backend cannot be used for chords.
            ConfigurationError: there is no result backend.
        """
        app = self.app
        kwargs = dict(kwargs or {})
        given = kwargs.pop("body", None)
        if app.conf.task_always_eager:
            with joins(True):
                return self._run(args, kwargs, {**options, "body": given})
        body = self._body_for(given)
        task_id = options.get("task_id")
        kwargs = {**self["kwargs"].get("kwargs", {}), **kwargs}
        _, _, options = self._merge(options={**options, "task_id": self["options"].get("task_id")})
        take = options.pop
        header_id = take("task_id")
        _link_all(body, take("link", None), take("link_error", None))
        app.backend.ensure_chords_allowed()
        args = self._merge(args)[0]
        unlocking = {name: take(name) for name in _OF_THE_UNLOCKER if name in options}
        delays = {name: take(name) for name in _OF_THE_HEADER if name in options}
        place = Place(take("group_id", None), take("chord", None), options.get("root_id"))
        index, following = take("group_index", None), take("chain", None)
        if following:
            body.options["chain"] = [*following, *body.options.get("chain", ())]
        body.options.update({name: value for name, value in options.items() if name not in _NOT_OF_THE_BODY})
        known = self._settled if given is None else None
        body_result = settle(body, task_id or header_id, place, index) if known is None else known
        header = self._header()
        size = len(header.tasks)
        if not size:
            post(body, ([],), {}, {})
            if known is None:
                first_of(body_result).parent = GroupResult(header.id, [], app=app)
            return body_result
        body["chord_size"] = size
        if body.subtask_type or len(as_list(body.options.get("link_error"))) > 1:
            # Several messages may follow from this chord; see ``outbox.ending``.
            body["chord_sent"] = uuid()[:8]
        for member in ("subtask_type", "immutable"):
            # Whoever reads it takes what is missing for what these say, and each task of the header carries the body.
            if not body[member]:
                del body[member]
        check_embedded({"chord": body}, self.TYPES, f"a task before {body['task']}")
        with app.beginning_chord(header.options["task_id"], size):
            header_result = post(header, args, kwargs, {**options, **delays, "chord": body})
        if not app.backend.can(BackendCapability.CHORDS):
            self._watch(header_result, body, unlocking)
        if known is None:
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

    def _run(self, args: Any, kwargs: Any, options: dict[str, Any]) -> Any:
        """Run the header and then the body here and now; returns the body's ``EagerResult``.

        Args:
            options: ``propagate=False`` lets the body run although a task of the header has failed, whose error then
                stands among the results; ``body`` is the body, if the chord has none.
        """
        options = dict(options)
        propagate, body = options.pop("propagate", True), self._body_for(options.pop("body", None))
        _, _, options = self._merge(options=options)
        _link_all(body, options.get("link"), options.get("link_error"))
        if options.get("task_id"):
            body.options.setdefault("task_id", options["task_id"])
        header = self._header()
        args, kwargs = self._merge(args)[0], {**self["kwargs"].get("kwargs", {}), **(kwargs or {})}
        header_result = run(header, args, kwargs, {})
        failed = next((result for result in header_result.results if result.failed()), None) if propagate else None
        if failed is not None:
            error = header_error(header_result.id, failed.result, failed.id)
            body_id = body.options.setdefault("task_id", uuid())
            fail_body_eagerly(self.app, body, error)
            result = EagerResult(body_id, error, FAILURE, name=body.task)
        else:
            with joins(True):
                # One by one, since a group has no value of a member whose result nobody keeps.
                values = [member.get(propagate=propagate) for member in header_result.results]
            result = run(body, (values,), {}, {})
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
        return len(self.clone()._header().tasks)

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
        last = next((task for task in map(maybe_signature, reversed(sig.tasks)) if not is_nothing(task)), None)
        while isinstance(last, group) and last.is_of_one():
            last = next(task for task in map(maybe_signature, last.tasks) if not is_nothing(task))
        return last is not None and ends_in_group(last)
    return False


def follow(sig: Any, after: Any) -> Any:
    """The signature that runs ``after`` when all of ``sig`` has ended; where nobody else has either."""
    sig = sig._expanded()
    if isinstance(sig, _chord):
        sig.body = follow(sig.body, after)
        return sig
    if isinstance(sig, group):
        whole = _chord([], body=after, app=sig._app)
        whole.tasks = sig.with_its_own()
        return whole
    return sig.TYPES["chain"].extend(sig, after)


def as_one(sig: Any) -> Any:
    """A signature that ends in one task, and so has one result and reports once to a chord; of what nobody else has.

    One that ends in a group is followed by a task that gathers the group's results into a list.
    """
    return follow(sig, Signature(ACCUMULATE, kwargs={"index": 0}, app=sig._app)) if ends_in_group(sig) else sig


def first_of(result: Any) -> Any:
    """The result that all of a chain of results began with."""
    while result.parent is not None:
        result = result.parent
    return result


def _link_all(body: Any, callbacks: Any, errbacks: Any) -> None:
    for callback in as_list(callbacks):
        body.link(callback)
    for errback in as_list(errbacks):
        body.link_error(errback)


def _body_of(body: Any, app: Any) -> Any:
    body = maybe_signature(body, app=app)
    if body is not None and not isinstance(body, Signature):
        raise TypeError(f"the body of a chord is a signature, such as task.s(1), not {shown(body)}")
    return body


def _tasks_of(header: Any, app: Any, *, wire: bool = False) -> list[Any]:
    if isinstance(header, dict):
        header = maybe_signature(header, app=app)
        if isinstance(header, group):
            return [maybe_signature(task, app=app) for task in header.clone().with_its_own()]
        header = header.tasks if header.subtask_type == "chain" else [header]
    members = members_of(header, "the header of a chord", names=True, wire=wire)
    return [maybe_signature(task, app=app) if type(task) is dict else signature(task, app=app) for task in members]
