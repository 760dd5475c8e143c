"""The signature: a call of a task as data, to be sent later, elsewhere, or as part of a workflow."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

from umbel.canvas.members import Member, Option
from umbel.canvas.parts import as_list, check_fields, shown
from umbel.canvas.place import Place
from umbel.canvas.soundness import unsound
from umbel.canvas.stamping import stamp_links, stamp_one
from umbel.model.brief import brief
from umbel.model.current import get_current_app
from umbel.model.exceptions import InvalidTaskError
from umbel.model.ids import uuid
from umbel.results.async_result import AsyncResult
from umbel.wire.embedded import check_shape


class Signature(dict[str, Any]):
    """A task's name, arguments and options, in Celery's wire form.

    It is a dict with the members ``task``, ``args``, ``kwargs``, ``options``, ``subtask_type`` and ``immutable``, so
    any serializer writes it. A dict that came off the wire becomes one again by ``signature()``.

    Args:
        task: a task, its name, or a signature's dict, which is then all that counts.
        args: positional arguments; those of a later call are put in front.
        kwargs: keyword arguments; those of a later call go over them.
        options: options of ``apply_async``, also given as keywords.
        immutable: whether it takes no further arguments, such as the result of the task before it.
        app: the app to send with; the current one when None.
    """

    TYPES: ClassVar[dict[str, type[Signature]]] = {}
    """The kinds of signature by ``subtask_type``."""
    BY_TASK: ClassVar[dict[str, type[Signature]]] = {}
    """Kinds of signature by the name of their task, for dicts without a ``subtask_type``."""

    _KEPT_OPTIONS: ClassVar[frozenset[str]] = frozenset({"group_id", "stamped_headers"})
    _app: Any = None
    _type: Any = None
    _settled: Any = None
    """The result of one that is made of others, once the ids of all inside are settled."""

    def __init__(
        self,
        task: Any = None,
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        type: Any = None,
        subtask_type: str | None = None,
        immutable: bool = False,
        app: Any = None,
        **more_options: Any,
    ) -> None:
        self._app = app
        if isinstance(task, dict):
            super().__init__(task)
            for member, default in (("args", ()), ("kwargs", {}), ("options", {})):
                if self.get(member) is None:
                    self[member] = default
            self.setdefault("subtask_type", None)
            self.setdefault("immutable", False)
            return
        name = getattr(task, "name", None)
        if name is not None:
            self._type = task
        elif task is not None and not isinstance(task, str):
            raise TypeError(f"a signature is of a task or its name, not of {shown(task)}")
        if args and (isinstance(args, str | bytes | dict) or not isinstance(args, Iterable)):
            raise TypeError(f"args of a signature of {name or task} are a list or tuple, not {shown(args)}")
        if kwargs and not isinstance(kwargs, Mapping):
            raise TypeError(f"kwargs of a signature of {name or task} are a mapping, not {shown(kwargs)}")
        super().__init__(
            task=task if name is None else name,
            args=tuple(args or ()),
            kwargs=dict(kwargs or {}),
            options={**(options or {}), **more_options},
            subtask_type=subtask_type,
            immutable=immutable,
        )

    @classmethod
    def register_type(cls, name: str | None = None) -> Callable[[type[Signature]], type[Signature]]:
        """A class decorator that makes signatures of a ``subtask_type`` instances of the class."""

        def register(subclass: type[Signature]) -> type[Signature]:
            cls.TYPES[name or subclass.__name__] = subclass
            return subclass

        return register

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], app: Any = None) -> Signature:
        """The signature that a dict describes, of the class for its ``subtask_type``.

        Raises:
            InvalidTaskError: it describes none.
        """
        check_shape(data, "a signature")
        kind = data.get("subtask_type")
        target = cls.TYPES.get(kind) if kind else cls._kind_of(data)
        if target is None:
            raise InvalidTaskError(f"{kind!r:.80} is no kind of signature; known: {', '.join(sorted(cls.TYPES))}")
        if target is not cls and target.from_dict.__func__ is not Signature.from_dict.__func__:  # type: ignore[attr-defined]
            # A user's kind of signature, which makes its own.
            return target.from_dict(data, app=app)
        made = target._bare()
        Signature.__init__(made, dict(data), app=app)
        made["kwargs"] = dict(made["kwargs"])
        made["options"] = dict(made["options"])
        made._adopt()
        return made

    @classmethod
    def _kind_of(cls, data: Mapping[str, Any]) -> type[Signature]:
        """The class for a dict without ``subtask_type``, which Celery leaves out of calls of some built-in tasks."""
        named = cls.BY_TASK.get(data["task"])
        return cls if named is None or not named._describes(data) else named

    @classmethod
    def _describes(cls, data: Mapping[str, Any]) -> bool:
        """Whether a dict with the name of its task has what it needs."""
        return True

    @classmethod
    def _bare(cls) -> Signature:
        return dict.__new__(cls)

    def _adopt(self) -> None:
        """Make signatures of the dicts inside, after ``from_dict``."""

    task = Member("task", "The task's name.")
    name = Member("task", "The task's name, so that a signature can stand where a task can.")
    args = Member("args", "Positional arguments.")
    kwargs = Member("kwargs", "Keyword arguments.")
    options = Member("options", "Options of ``apply_async``.")
    subtask_type = Member("subtask_type", "The kind of signature; None for a plain task.")
    immutable = Member("immutable", "Whether it takes no further arguments.")
    id = Option("task_id", "The id that the task will have, once it is frozen.")
    parent_id = Option("parent_id", "The id of the task that sends it, if that is settled.")
    root_id = Option("root_id", "The id of the task that all began with, if that is settled.")

    @property
    def app(self) -> Any:
        """The app to send with."""
        try:
            return self._app or getattr(self._type, "app", None) or self._inner_app() or get_current_app()
        except RecursionError:
            raise unsound(self) from None

    def _inner_app(self) -> Any:
        """The app of a signature inside, if it has one of its own."""
        return None

    @property
    def type(self) -> Any:
        """The task.

        Raises:
            NotRegistered: the app does not know it.
        """
        return self._type or self.app.tasks[self["task"]]

    @property
    def AsyncResult(self) -> Any:
        """The class of its result, as the task has it, or else the app."""
        return getattr(self._type or self.app.tasks.get(self["task"]), "AsyncResult", None) or self.app.AsyncResult

    # Sending. What users call copies what is made of others; from there on all of it is changed in place, so that the
    # cost is that of its size, however it is nested.

    def apply_async(self, args: Any = None, kwargs: Any = None, route_name: str | None = None, **options: Any) -> Any:
        """Send it; returns its ``AsyncResult``, of a group a ``GroupResult``.

        Args:
            args: put in front of its own.
            kwargs: go over its own.
            options: go over its own; those that are None do not count.
        """
        if route_name is not None:
            options["route_name"] = route_name
        return self._owned()._post(args, kwargs, _given(options))

    def _owned(self) -> Any:
        """What may be changed: a copy of what is made of others; itself where sending changes nothing of it."""
        return self

    def _post(self, args: Any, kwargs: Any, options: dict[str, Any]) -> Any:
        """Send it, where nobody else has it; see ``apply_async``."""
        return self._send(*self._merge(args, kwargs, options))

    def _send(self, args: Any, kwargs: Any, options: dict[str, Any]) -> Any:
        task = self._type or self.app.tasks.get(self["task"])
        if task is not None:
            return task.apply_async(args, kwargs, **options)
        if not self["task"]:
            raise TypeError(f"a signature without a task cannot be sent: {brief(dict(self), 200)}")
        return self.app.send_task(self["task"], args, kwargs, **options)

    def delay(self, *args: Any, **kwargs: Any) -> Any:
        """Send it with these arguments added."""
        return self.apply_async(args, kwargs)

    def apply(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        """Run it here and now; returns an ``EagerResult``, of a group a ``GroupResult``."""
        return self._owned()._run(args, kwargs, _given(options))

    def _run(self, args: Any, kwargs: Any, options: dict[str, Any]) -> Any:
        """Run it here and now, where nobody else has it; see ``apply``."""
        args, kwargs, options = self._merge(args, kwargs, options)
        return self.type.apply(args, kwargs, **options)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the task here and now, as a function."""
        args, kwargs, _ = self._merge(args, kwargs)
        return self.type(*args, **kwargs)

    def __invert__(self) -> Any:
        """``~signature`` sends it and waits for the value."""
        return self.apply_async().get()

    def freeze(
        self,
        _id: str | None = None,
        group_id: str | None = None,
        chord: Any = None,
        root_id: str | None = None,
        parent_id: str | None = None,
        group_index: int | None = None,
    ) -> Any:
        """Settle its id, and the ids of all inside, before it is sent; returns the result that it will have.

        It must be sent once only, since a second message would bear the same id.

        Args:
            _id: the id, unless it has one; a new one when None.
            group_id: the group it is in, unless it is in one.
            chord: the body of the chord in whose header it is.
            root_id: the id of the task that all began with.
            parent_id: the id of the task that sends it.
            group_index: its place in the group.
        """
        self._separate()
        return self._settle(_id, Place(group_id, chord, root_id, parent_id), group_index)

    def _settle(self, task_id: str | None, place: Place, index: int | None) -> Any:
        """Settle the ids, where nobody else has it; see ``freeze``. Once more, it is told its place only."""
        options = self["options"]
        own_id = options.get("task_id")
        if own_id is None:
            own_id = options["task_id"] = task_id or uuid()
        if place.root_id:
            options["root_id"] = place.root_id
        if place.parent_id:
            options["parent_id"] = place.parent_id
        if place.group_id and "group_id" not in options:
            options["group_id"] = place.group_id
        if place.chord is not None:
            options["chord"] = place.chord
        if index is not None:
            options["group_index"] = index
        if "reply_to" not in options:
            reply_to = self.app.reply_to
            if reply_to is not None:
                options["reply_to"] = reply_to
        return AsyncResult(own_id, app=self.app)

    _freeze = freeze

    # Deriving

    def _merge(
        self, args: Any = None, kwargs: Any = None, options: Mapping[str, Any] | None = None, force: bool = False
    ) -> tuple[Any, Any, dict[str, Any]]:
        own = self["options"]
        if options:
            kept = self._KEPT_OPTIONS
            stamped = own.get("stamped_headers")
            if stamped:
                kept = kept.union(stamped)
            merged = {**own, **{name: value for name, value in options.items() if name not in kept or name not in own}}
        else:
            merged = dict(own)
        if self.get("immutable") and not force:
            return self["args"], self["kwargs"], merged
        return (
            (*args, *self["args"]) if args else self["args"],
            {**self["kwargs"], **kwargs} if kwargs else self["kwargs"],
            merged,
        )

    def clone(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        """A copy with arguments put in front and options set over. Changing it leaves the original as it is."""
        args, kwargs, merged = self._merge(args, kwargs, options)
        copied = self._bare()
        copied.update(self)
        copied.__dict__.update(self.__dict__)
        copied["args"] = tuple(args)
        copied["kwargs"] = dict(kwargs)
        try:
            copied["options"] = _copy(merged)
            copied._separate()
        except RecursionError:
            raise unsound(self) from None
        return copied

    partial = clone

    def _give(self, args: Any) -> None:
        """Put arguments in front of its own, where nobody else has it."""
        if args and not self.get("immutable"):
            self["args"] = (*args, *self["args"])

    def _expanded(self) -> Any:
        """What takes its place in a group or a chain: itself, unless it stands for several tasks."""
        return self

    def _separate(self) -> None:
        """Copy the signatures inside, so that nobody else has them; nothing of them is settled for certain then."""

    def replace(self, args: Any = None, kwargs: Any = None, options: Any = None) -> Any:
        """A copy with other arguments or options in place of its own; None keeps its own."""
        copied = self.clone()
        if args is not None:
            copied["args"] = args
        if kwargs is not None:
            copied["kwargs"] = kwargs
        if options is not None:
            copied["options"] = options
        return copied

    def set(self, immutable: bool | None = None, **options: Any) -> Any:
        """Set options; returns itself."""
        if immutable is not None:
            self.set_immutable(immutable)
        self["options"].update(options)
        return self

    def set_immutable(self, immutable: bool) -> None:
        """Say whether it takes further arguments."""
        self["immutable"] = immutable

    def stamp(self, visitor: Any = None, append_stamps: bool = False, **headers: Any) -> Any:
        """Put headers on it, and on what is linked to it; returns itself.

        Args:
            visitor: a ``StampingVisitor`` that says which ones, for each part of a workflow.
            append_stamps: gather all values of a stamp in a list; else the first that was given counts.
            headers: stamps by name; a list ``stamped_headers`` says which of them are, if not all.
        """
        return stamp_one(self, visitor, append_stamps, headers)

    def stamp_links(self, visitor: Any, append_stamps: bool = False, **headers: Any) -> None:
        """Stamp its callbacks and errbacks only."""
        stamp_links(self, visitor, append_stamps, headers)

    def election(self) -> Any:
        """Let one of the workers run it: here the one that takes it from the queue; returns its ``AsyncResult``."""
        return self.apply_async(task_id=self["options"].get("task_id") or uuid())

    def __or__(self, other: Any) -> Any:
        """``first | second``: the second runs after the first and is given its result."""
        if not isinstance(other, Signature):
            return NotImplemented
        compose: Callable[[Any, Any], Any] = self.TYPES["chain"].compose  # type: ignore[attr-defined]
        return compose(self, other)

    def __ior__(self, other: Any) -> Any:
        return self.__or__(other)

    # Callbacks

    def append_to_list_option(self, key: str, value: Any) -> Any:
        """Add to a list among its options, unless it is there; returns the value."""
        held = self["options"].get(key)
        if not isinstance(held, list):
            held = self["options"][key] = [] if held is None else as_list(held)
        if value not in held:
            held.append(value)
        return value

    def extend_list_option(self, key: str, value: Any) -> None:
        """Add one or several to a list among its options."""
        held = self["options"].get(key)
        self["options"][key] = [*as_list(held), *as_list(value)]

    def link(self, callback: Any) -> Any:
        """Send ``callback`` with the result when the task succeeds; returns the callback."""
        return self.append_to_list_option("link", callback)

    def link_error(self, errback: Any) -> Any:
        """Call ``errback`` when the task fails; returns the errback."""
        return self.append_to_list_option("link_error", errback)

    def on_error(self, errback: Any) -> Any:
        """As ``link_error``, but returns itself."""
        self.link_error(errback)
        return self

    def flatten_links(self) -> list[Any]:
        """Itself and its callbacks, their callbacks, and so on."""
        linked = (maybe_signature(link, app=self._app) for link in as_list(self["options"].get("link")))
        try:
            return [self, *itertools.chain.from_iterable(link.flatten_links() for link in linked)]
        except RecursionError:
            raise unsound(self) from None

    # As text and as data

    def reprcall(self, *args: Any, **kwargs: Any) -> str:
        """The call as text, such as ``add(2, 2)``, with these arguments added."""
        shown_args, shown_kwargs, _ = self._merge(args, kwargs, force=True)
        shown = [brief(value, 200) for value in shown_args]
        shown += [f"{name}={brief(value, 200)}" for name, value in shown_kwargs.items()]
        return f"{self['task']}({', '.join(shown)})"

    def __repr__(self) -> str:
        return self.reprcall()

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return self.clone()

    def __reduce__(self) -> tuple[Any, ...]:
        return signature, (dict(self),)

    def __json__(self) -> dict[str, Any]:
        return dict(self)


def signature(varies: Any, *args: Any, **kwargs: Any) -> Any:
    """A new signature: of a task or its name with arguments, of a dict off the wire, or a copy of another signature."""
    if isinstance(varies, Signature):
        return varies.clone()
    if isinstance(varies, dict):
        return maybe_signature(check_fields(varies), app=kwargs.get("app"))
    return Signature(varies, *args, **kwargs)


def maybe_signature(value: Any, app: Any = None, clone: bool = False) -> Any:
    """A signature out of a signature or a dict; anything else, None too, comes back as it is.

    Args:
        app: bound to it.
        clone: copy what is a signature already.

    Raises:
        InvalidTaskError: a dict describes no signature, or nests too deeply.
    """
    if isinstance(value, Signature):
        if clone:
            value = value.clone()
        if app is not None:
            value._app = app
        return value
    if not isinstance(value, dict):
        return value
    try:
        return Signature.from_dict(value, app=app)
    except RecursionError:
        raise unsound(value) from None


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _copy(value: Any) -> Any:
    """Copy what signatures are made of; everything else is shared."""
    if isinstance(value, Signature):
        return value.clone()
    if type(value) is dict:
        return {name: _copy(member) for name, member in value.items()}
    if type(value) is list:
        return [_copy(member) for member in value]
    return value
