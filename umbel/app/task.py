"""The task: a function that can be called elsewhere, with its options and its handlers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import CoroutineType
from typing import TYPE_CHECKING, Any, ClassVar

from umbel.app import outbox
from umbel.app.call_check import CallCheck
from umbel.model import current, states
from umbel.model.exceptions import MaxRetriesExceededError, OperationalError, Reject, Retry
from umbel.model.later import Later
from umbel.model.request import Context

if TYPE_CHECKING:
    from umbel import canvas
    from umbel.canvas.signature import Signature
    from umbel.results.eager_result import EagerResult
else:
    canvas = Later("umbel.canvas")


class FromConfig:
    """A task attribute that answers with a setting as long as nobody has set it."""

    def __init__(self, setting: str) -> None:
        self.setting = setting

    def __get__(self, task: Any, owner: type[Any]) -> Any:
        return self if task is None else task.app.conf[self.setting]


_SEND_OPTIONS = (
    "queue",
    "routing_key",
    "exchange",
    "priority",
    "expires",
    "serializer",
    "delivery_mode",
    "compression",
    "time_limit",
    "soft_time_limit",
    "immediate",
    "mandatory",
)


class Task:
    """Base class of all tasks. One instance a task and app, also in a worker's every slot.

    The attributes are Celery's; one that is not set on the task follows the setting of its name.
    """

    Strategy: ClassVar[Any] = None
    Request: ClassVar[Any] = None
    MaxRetriesExceededError = MaxRetriesExceededError
    OperationalError = OperationalError

    app: Any = None
    name: str = ""
    typing: bool = True
    max_retries: int | None = 3
    default_retry_delay: float = 180
    abstract: bool = True
    type: str = "regular"
    trail: bool = True
    send_events: bool = True
    resultrepr_maxsize: int = 1024
    throws: Any = ()
    backend_override: Any = None

    rate_limit: Any = FromConfig("task_default_rate_limit")
    ignore_result: Any = FromConfig("task_ignore_result")
    store_errors_even_if_ignored: Any = FromConfig("task_store_errors_even_if_ignored")
    serializer: Any = FromConfig("task_serializer")
    compression: Any = FromConfig("task_compression")
    track_started: Any = FromConfig("task_track_started")
    acks_late: Any = FromConfig("task_acks_late")
    acks_on_failure_or_timeout: Any = FromConfig("task_acks_on_failure_or_timeout")
    acks_on_failure: Any = FromConfig("task_acks_on_failure")
    acks_on_timeout: Any = FromConfig("task_acks_on_timeout")
    reject_on_worker_lost: Any = FromConfig("task_reject_on_worker_lost")
    retry_on_worker_lost: Any = FromConfig("task_retry_on_worker_lost")
    store_eager_result: Any = FromConfig("task_store_eager_result")
    soft_time_limit: Any = FromConfig("task_soft_time_limit")
    time_limit: Any = FromConfig("task_time_limit")
    priority: Any = FromConfig("task_default_priority")
    expires: Any = None
    queue: Any = None
    exchange: Any = None
    routing_key: Any = None
    delivery_mode: Any = None
    immediate: Any = None
    mandatory: Any = None

    _sender: Any = None
    _checked: tuple[Callable[..., Any], bool] | None = None
    """The function whose signature the calls are checked by, and whether it is given the task; None for no check."""
    _check = CallCheck()

    @classmethod
    def bind(cls, app: Any) -> Any:
        """Called when the task becomes an app's."""
        cls.app = app
        cls.on_bound(app)
        return app

    @classmethod
    def on_bound(cls, app: Any) -> None:
        """Called when the task has become an app's. Default: nothing."""

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """The task's body. Subclasses define it; a decorated function becomes it."""
        raise NotImplementedError(f"task {self.name!r} defines no run()")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the body here, as a plain call; of a coroutine function it makes a coroutine, to be awaited."""
        request = Context(args=args, kwargs=kwargs)
        token = current.push_task(self, request)
        try:
            value = self.run(*args, **kwargs)
        finally:
            current.pop_task(token)
        return self._within(request, value) if type(value) is CoroutineType else value

    async def _within(self, request: Context, coroutine: CoroutineType[Any, Any, Any]) -> Any:
        token = current.push_task(self, request)
        try:
            return await coroutine
        finally:
            current.pop_task(token)

    @property
    def request(self) -> Context:
        """The request with which this task runs here; an empty one outside of a run."""
        found = current.get_request(self)
        return found if found is not None else Context()

    @property
    def cancelled(self) -> bool:
        """Whether nobody wants this run any more, so that a long task that asks now and then can end early: it was
        revoked or terminated, or the worker is being shut down cold. Always False where the pool cannot tell.
        """
        return self.request.cancelled

    @property
    def backend(self) -> Any:
        """Where this task's results are stored."""
        return self.backend_override if self.backend_override is not None else self.app.backend

    @property
    def __wrapped__(self) -> Any:
        return self.run

    # Sending

    def delay(self, *args: Any, **kwargs: Any) -> Any:
        """Send the task with these arguments. Returns its ``AsyncResult``."""
        return self.apply_async(args, kwargs)

    def apply_async(
        self,
        args: Any = None,
        kwargs: Any = None,
        task_id: str | None = None,
        producer: Any = None,
        link: Any = None,
        link_error: Any = None,
        shadow: str | None = None,
        **options: Any,
    ) -> Any:
        """Send the task. Returns its ``AsyncResult``.

        Args:
            args: positional arguments, a list or tuple.
            kwargs: keyword arguments, a mapping.
            task_id: its id, if it is to have a certain one.
            producer: accepted; messages go out on the app's own connection.
            link: signatures to send when it succeeds.
            link_error: signatures to send when it fails.
            shadow: another name for it in logs and monitors.
            options: ``countdown``, ``eta``, ``expires``, ``queue``, ``priority``, ``headers``,
                ``serializer``, ``compression``, ``retry``, ``retry_policy``, ``ignore_result`` and the
                rest of Celery's.

        Raises:
            TypeError: the arguments do not fit the task's signature (unless ``typing`` is off).
            OperationalError: the broker did not take it within ``broker_publish_timeout``.
            EncodeError: the arguments cannot be serialised.
        """
        if self._check is not None:
            self._check(*(args or ()), **(kwargs or {}))
        if task_id is not None:
            options["task_id"] = task_id
        if link is not None:
            options["link"] = link
        if link_error is not None:
            options["link_error"] = link_error
        shadow = shadow or self.shadow_name(args, kwargs, options)
        if shadow is not None:
            options["shadow"] = shadow
        app = self.app
        if app.always_eager:
            return self.apply(args, kwargs, **options)
        return app.send(self.name, args, kwargs, options, task=self)

    def shadow_name(self, args: Any, kwargs: Any, options: Mapping[str, Any]) -> str | None:
        """Another name for this call in logs and monitors. Default: None."""
        return None

    def sender(self) -> Any:
        """The compiled sender of this task."""
        if self._sender is None:
            # Annotations are applied when the app is finalised, and may be options of the message.
            if not self.app.finalized and self.app.autofinalize:
                self.app.finalize()
            self._sender = self.app.make_sender(self.name, self.send_options())
        return self._sender

    def send_options(self) -> dict[str, Any]:
        """The task's own options for its messages."""
        options = {name: getattr(self, name) for name in _SEND_OPTIONS}
        options = {name: value for name, value in options.items() if value is not None}
        if self.ignore_result:
            options["ignore_result"] = True
        return options

    def apply(
        self,
        args: Any = None,
        kwargs: Any = None,
        link: Any = None,
        link_error: Any = None,
        task_id: str | None = None,
        retries: int = 0,
        throw: bool | None = None,
        logfile: Any = None,
        loglevel: Any = None,
        headers: Any = None,
        **options: Any,
    ) -> EagerResult:
        """Run the task here and now, as a worker would. Returns an ``EagerResult``.

        Args:
            throw: re-raise the task's error; by default ``task_eager_propagates``.

        Raises:
            EncodeError: the arguments cannot be serialised.
        """
        return self.app.run_eagerly(  # type: ignore[no-any-return]
            self,
            args,
            kwargs,
            link=link,
            link_error=link_error,
            task_id=task_id,
            retries=retries,
            throw=throw,
            logfile=logfile,
            loglevel=loglevel,
            headers=headers,
            **options,
        )

    # Within a run

    def retry(
        self,
        args: Any = None,
        kwargs: Any = None,
        exc: BaseException | None = None,
        throw: bool = True,
        eta: Any = None,
        countdown: float | None = None,
        max_retries: int | None = None,
        **options: Any,
    ) -> Retry:
        """Send this task again, later, and leave it by raising ``Retry``.

        Args:
            args: positional arguments, when not the same ones.
            kwargs: keyword arguments, when not the same ones.
            exc: the error that is the reason; raised when there are no attempts left.
            throw: False to return ``Retry`` instead of raising it.
            eta: when, as a datetime.
            countdown: in how many seconds; by default ``default_retry_delay``.
            max_retries: instead of the task's own.

        Raises:
            Retry: always, unless ``throw`` is off.
            MaxRetriesExceededError: there are no attempts left and no ``exc`` was given.
        """
        request = self.request
        retries = request.retries + 1
        if max_retries is not None:
            self.override_max_retries = max_retries
        limit = self.max_retries if max_retries is None else max_retries
        if request.called_directly:
            if exc is not None:
                raise exc
            raise Retry("Task can be retried", None)
        if not eta and countdown is None:
            countdown = self.default_retry_delay
        again = self.signature_from_request(
            request, args, kwargs, countdown=countdown, eta=eta, retries=retries, **options
        )
        if limit is not None and retries > limit:
            if exc is not None:
                raise exc
            raise self.MaxRetriesExceededError(
                f"Can't retry {self.name}[{request.id}] args:{request.args} kwargs:{request.kwargs}: "
                f"it was retried {request.retries} times",
                task_args=request.args,
                task_kwargs=request.kwargs,
            )
        retry = Retry(exc=exc, when=eta or countdown, is_eager=request.is_eager, sig=again)
        if not request.is_eager:
            try:
                with outbox.gathering() as gathered:
                    again.apply_async()
            except Exception as error:
                raise Reject(error, requeue=False) from error
            request.outgoing = [*(request.outgoing or ()), *gathered]
        if throw:
            raise retry
        return retry

    def signature_from_request(
        self,
        request: Context | None = None,
        args: Any = None,
        kwargs: Any = None,
        queue: Any = None,
        **extra_options: Any,
    ) -> Signature:
        """A signature with which to send the running call again."""
        request = self.request if request is None else request
        args = request.args if args is None else args
        kwargs = request.kwargs if kwargs is None else kwargs
        options = {**request.as_execution_options(), "ignore_result": request.ignore_result, **extra_options}
        info = request.delivery_info or {}
        if info.get("priority") is not None:
            options.setdefault("priority", info["priority"])
        if queue is not None:
            options["queue"] = queue
        elif info.get("exchange"):
            options.setdefault("exchange", info["exchange"])
            options.setdefault("routing_key", info.get("routing_key"))
        elif info.get("routing_key"):
            options.setdefault("queue", info["routing_key"])
        return self.signature(args, kwargs, task=self.name, **options)

    subtask_from_request = signature_from_request

    def update_state(
        self, task_id: str | None = None, state: str | None = None, meta: Any = None, **kwargs: Any
    ) -> None:
        """Store a state of one's own, with its details, for whoever looks at the result.

        Of an eager run nothing is stored unless ``task_store_eager_result`` says so.
        """
        request = self.request
        if request.is_eager and not self.store_eager_result and task_id in (None, request.id):
            return
        task_id = task_id or request.id
        if task_id is None:
            raise RuntimeError(f"{self.name}.update_state needs a task_id outside of a running task")
        self.backend.store_result(task_id, meta, state or states.STARTED, request=request, **kwargs)

    def replace(self, sig: Any, visitor: Any = None) -> Any:
        """End this run and let another signature take its place, under this task's id."""
        return self.app.replace_running(self, sig)

    def add_to_chord(self, sig: Any, lazy: bool = False) -> Any:
        """Add a signature to the chord that this task is a member of."""
        return self.app.add_to_chord(self, sig, lazy)

    def add_trail(self, result: Any) -> Any:
        """Note a result among this request's children."""
        if self.trail:
            self.request.children.append(result)
        return result

    def send_event(self, type_: str, retry: bool = True, retry_policy: Any = None, **fields: Any) -> None:
        """Send a monitoring event of one's own."""
        self.app.send_event(type_, uuid=self.request.id, **fields)

    # Composing

    def signature(self, args: Any = None, kwargs: Any = None, *starargs: Any, **options: Any) -> Signature:
        """A signature of this task: the call as data."""
        options.pop("task", None)
        made: Signature = canvas.signature(self.name, args, kwargs, *starargs, app=self.app, **_split(options))
        return made

    subtask = signature

    def s(self, *args: Any, **kwargs: Any) -> Signature:
        """``task.s(1, b=2)`` is ``task.signature((1,), {"b": 2})``."""
        return self.signature(args, kwargs)

    def si(self, *args: Any, **kwargs: Any) -> Signature:
        """Like ``s``, and takes no result of a task before it."""
        return self.signature(args, kwargs, immutable=True)

    def map(self, it: Any) -> Any:
        """One task that calls this one with each item."""
        return canvas.xmap(self.s(), it, app=self.app)

    def starmap(self, it: Any) -> Any:
        """One task that calls this one with each item's members as arguments."""
        return canvas.xstarmap(self.s(), it, app=self.app)

    def chunks(self, it: Any, n: int) -> Any:
        """Tasks of ``n`` calls each."""
        return canvas.chunks(self.s(), it, n, app=self.app)

    def AsyncResult(self, task_id: str, **kwargs: Any) -> Any:
        """The result of a call of this task, by its id."""
        return self.app.AsyncResult(task_id, task_name=self.name, **kwargs)

    # Handlers

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        """Called where the task runs, before it does."""

    def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
        """Called where the task ran, after it succeeded."""

    def on_retry(self, exc: BaseException, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        """Called where the task ran, when it is to be retried."""

    def on_failure(self, exc: BaseException, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        """Called where the task ran, after it failed."""

    def after_return(self, status: str, retval: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        """Called where the task ran, after it ended in whatever way."""

    def on_replace(self, sig: Any) -> Any:
        """Called by ``replace`` with the signature that takes over."""
        return sig

    def __repr__(self) -> str:
        return f"<@task: {self.name} of {self.app!r}>"

    def __reduce__(self) -> Any:
        return (_find_task, (self.name,))


def _find_task(name: str) -> Any:
    return current.get_current_app().tasks[name]


def _split(options: dict[str, Any]) -> dict[str, Any]:
    """The keyword arguments of ``signature`` from loose options: ``immutable`` and the rest as ``options``."""
    known: dict[str, Any] = {
        key: options.pop(key) for key in ("immutable", "subtask_type", "options") if key in options
    }
    merged = {**known.pop("options", {}), **options}
    return {**known, "options": merged} if merged else known
