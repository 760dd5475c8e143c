"""The app: where tasks are registered, configuration is read and messages are sent."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from typing import TYPE_CHECKING, Any

from umbel.app import outbox, shared
from umbel.app.annotations import annotate
from umbel.app.bound import BoundClass, Part
from umbel.app.builtins import BUILTIN_OPTIONS, BUILTIN_TASKS
from umbel.app.connecting import Connecting
from umbel.app.extending import configure
from umbel.app.loading import import_modules, import_object, related_modules
from umbel.app.naming import task_name
from umbel.app.registry import TaskRegistry
from umbel.app.replacing import add_to_chord, replace_running
from umbel.app.steps import Steps
from umbel.app.task import Task as TaskBase
from umbel.app.task_factory import TaskFactory
from umbel.config.settings import Settings
from umbel.model import current, moment, node, signals
from umbel.model.exceptions import AlwaysEagerIgnored
from umbel.model.forking import load, renewed_in_child
from umbel.model.later import Later
from umbel.model.signal import Signal
from umbel_kernel.errors import ConfigurationError, PluginError

if TYPE_CHECKING:
    from umbel import canvas, results
    from umbel.app import calls, connections, control, eager, log, publisher, queues, routes, sender
    from umbel.wire import content
    from umbel_kernel.spi import backend
    from umbel_kernel.spi.backend import Backend, BackendCapability
    from umbel_kernel.spi.broker import BrokerCapability
else:
    # What sends and fetches. Many programs import tasks and never call one.
    canvas, results, content = Later("umbel.canvas"), Later("umbel.results"), Later("umbel.wire.content")
    calls, connections, control = Later("umbel.app.calls"), Later("umbel.app.connections"), Later("umbel.app.control")
    eager, log, publisher = Later("umbel.app.eager"), Later("umbel.app.log"), Later("umbel.app.publisher")
    queues, routes, sender = Later("umbel.app.queues"), Later("umbel.app.routes"), Later("umbel.app.sender")
    backend = Later("umbel_kernel.spi.backend")


class Umbel(Connecting):
    """An app. Most of what Celery's ``Celery`` class offers, by the same names.

    Args:
        main: the name of the main module, for tasks defined in ``__main__``.
        broker: URL of the broker; without one the embedded SQLite broker is used.
        backend: URL of the result backend.
        include: names of modules with tasks, imported when a worker starts.
        config_source: where to read the configuration from, as for ``config_from_object``.
        changes: settings that win over the configuration.
        set_as_current: make it the current app.
        namespace: prefix of the settings' names in the source.
        task_cls: base class of the tasks, or its path.
        strict_typing: check arguments against the tasks' signatures when they are called.
        kwargs: settings.
    """

    Task = TaskBase
    task_cls: Any = TaskBase
    connections = Part(lambda app: connections.Connections(app))
    control = Part(lambda app: control.Control(app))
    log = Part(lambda app: log.Logging(app))
    _calls = Part(lambda app: calls.Calls(app))

    def __init__(
        self,
        main: str | None = None,
        *,
        broker: str | None = None,
        backend: str | None = None,
        include: Iterable[str] | None = None,
        config_source: Any = None,
        changes: Mapping[str, Any] | None = None,
        set_as_current: bool = True,
        namespace: str | None = None,
        task_cls: Any = None,
        strict_typing: bool = True,
        autofinalize: bool = True,
        **kwargs: Any,
    ) -> None:
        self.main = main
        self.strict_typing = strict_typing
        self.autofinalize = autofinalize
        self.finalized = False
        own = {"broker_url": broker, "result_backend": backend, "include": list(include) if include else None}
        explicit = {name: value for name, value in own.items() if value is not None}
        self.conf = Settings({**(changes or {}), **explicit, **kwargs}, namespace=namespace)
        if config_source is not None:
            self.conf.set_source(config_source, namespace=namespace)
        if task_cls is not None:
            self.task_cls = import_object(task_cls) if isinstance(task_cls, str) else task_cls
        self.origin = node.origin()
        self.steps = Steps()
        self.on_after_configure = Signal(name="app.on_after_configure", providing_args={"source"})
        self.on_after_finalize = Signal(name="app.on_after_finalize")
        self.on_after_fork = Signal(name="app.on_after_fork")
        self.user_options: dict[str, set[Any]] = {"preload": set(), "worker": set()}
        self._tasks = TaskRegistry()
        self._factory = TaskFactory(self, self._tasks)
        self._lock = renewed_in_child(self, "_lock", threading.RLock)
        self._parts: dict[str, Any] = {}
        self._autodiscover: list[tuple[Any, str | None]] = []
        self.conf.on_resolve.append(self._configured)
        shared.track(self)
        os.register_at_fork(after_in_child=self._forked)
        if set_as_current:
            current.set_current_app(self)
        self.on_init()

    def on_init(self) -> None:
        """Called at the end of construction. Default: nothing."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.main or '__main__'}>"

    def __reduce__(self) -> Any:
        return (_find_app, (self.main,))

    def __enter__(self) -> Umbel:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    # Configuration

    def config_from_object(
        self, obj: Any, silent: bool = False, force: bool = False, namespace: str | None = None
    ) -> None:
        """Read the configuration from an object, or from a module by its name.

        Args:
            silent: a module that cannot be imported is no error.
            force: read now, not when a setting is first needed.
            namespace: prefix of the settings' names there, such as ``CELERY``.
        """
        self._parts.clear()
        self.conf.set_source(obj, silent=silent, force=force, namespace=namespace)

    def config_from_envvar(self, variable_name: str, silent: bool = False, force: bool = False) -> None:
        """Read the configuration from the module that an environment variable names."""
        self._parts.clear()
        self.conf.set_envvar(variable_name, silent=silent, force=force)

    def config_from_cmdline(self, argv: Sequence[str], namespace: str = "celery") -> None:
        """Set settings from words such as ``worker.prefetch_multiplier=10``."""
        self.conf.set_cmdline(argv, namespace)

    def add_defaults(self, fun: Any) -> None:
        """Add defaults below the configuration: a mapping, or a function that returns one."""
        self.conf.add_defaults(fun)

    def _configured(self, conf: Settings) -> None:
        configure(self)
        self.on_after_configure.send(sender=self, source=self.conf)

    @property
    def timezone(self) -> tzinfo:
        """The zone in which times without one are meant."""
        return self._part("timezone", lambda: moment.zone(self.conf.timezone))  # type: ignore[no-any-return]

    def now(self) -> datetime:
        """The time, with a zone."""
        return datetime.now(UTC)

    def either(self, default_key: str, *defaults: Any) -> Any:
        """The first of the defaults that is not None, else the setting."""
        return next((value for value in defaults if value is not None), self.conf[default_key])

    def _part(self, name: str, make: Callable[[], Any]) -> Any:
        """A part made from the configuration when first asked for."""
        found = self._parts.get(name)
        if found is None:
            with self._lock:
                found = self._parts.get(name)
                if found is None:
                    found = self._parts[name] = make()
        return found

    @property
    def queues(self) -> queues.Queues:
        """The queues this app knows."""
        return self._part("queues", lambda: queues.Queues(self.conf))  # type: ignore[no-any-return]

    @property
    def router(self) -> routes.Router:
        """Decides where a task's message goes."""
        return self._part("router", lambda: routes.Router(self, self.queues, self.conf.task_routes))  # type: ignore[no-any-return]

    @property
    def content(self) -> content.Content:
        """Reads and writes bodies."""

        def make() -> content.Content:
            conf = self.conf
            return content.Content(conf.accept_content, max_size=conf.worker_max_message_size)

        return self._part("content", make)  # type: ignore[no-any-return]

    @property
    def backend(self) -> results.ResultStore:
        """Where results are kept."""

        def make() -> results.ResultStore:
            return (results.DisabledStore if self.connections.backend_url() is None else results.ResultStore)(self)

        return self._part("backend", make)  # type: ignore[no-any-return]

    @property
    def publisher(self) -> publisher.Publisher:
        """Publishes messages."""
        return self._part("publisher", lambda: publisher.Publisher(self))  # type: ignore[no-any-return]

    @property
    def always_eager(self) -> bool:
        """Whether tasks run where they are called."""
        return self._part("always_eager", lambda: (bool(self.conf.task_always_eager),))[0]  # type: ignore[no-any-return]

    @property
    def result_expires(self) -> float | None:
        """Seconds that results are kept; None for ever."""
        value = self.conf.result_expires
        if isinstance(value, timedelta):
            value = value.total_seconds()
        return float(value) if value else None

    @property
    def broker_capabilities(self) -> frozenset[BrokerCapability]:
        """What the broker for publishing can do, by its class; nothing when its plugin is missing."""

        def look() -> tuple[frozenset[BrokerCapability]]:
            try:
                kind = load("brokers", self.connections.broker_urls()[0].scheme)
            except PluginError:
                return (frozenset(),)
            return (kind.capabilities,)

        return self._part("broker_capabilities", look)[0]  # type: ignore[no-any-return]

    @property
    def backend_capabilities(self) -> frozenset[BackendCapability]:
        """What the result backend can do, by its class, so that it need not be reached; nothing without one."""

        def look() -> tuple[type[Backend] | None]:
            url = self.connections.backend_url()
            return (load("backends", url.scheme) if url is not None else None,)

        kind = self._part("backend_kind", look)[0]
        return kind.capabilities if kind is not None else frozenset()

    @property
    def has_reply_to(self) -> bool:
        """Whether results travel to the caller's own address."""

        def look() -> tuple[bool]:
            return (backend.BackendCapability.REPLY_TO in self.backend_capabilities,)

        return self._part("has_reply_to", look)[0]  # type: ignore[no-any-return]

    @property
    def reply_to(self) -> str | None:
        """What task messages carry as ``reply_to``."""
        return self.connections.backend().reply_to if self.has_reply_to else None

    def load_backend(self) -> Backend:
        """The result backend of this process, connected."""
        return self.connections.backend()

    def inherited_priority(self) -> int | None:
        """The priority of the task that runs here, for those it sends."""
        request = current.get_outermost_request()
        info = (request.delivery_info or {}) if request is not None else {}
        return info.get("priority")

    # Tasks

    @property
    def tasks(self) -> TaskRegistry:
        """All tasks by name."""
        if not self.finalized and self.autofinalize:
            self.finalize()
        return self._tasks

    def finalize(self, auto: bool = False) -> None:
        """Register shared and built-in tasks and apply annotations. Done once; a second call does nothing."""
        with self._lock:
            if self.finalized:
                return
            self.finalized = True
            for name, function in BUILTIN_TASKS.items():
                if name not in self._tasks:
                    self._factory.builtin(name, function, **BUILTIN_OPTIONS.get(name, {}))
            for make in shared.makers():
                make(self)
            annotations = self.conf.task_annotations
            if annotations is not None:
                for task in self._tasks.values():
                    annotate(task, annotations)
        self.on_after_finalize.send(sender=self)

    def task(self, *args: Any, **options: Any) -> Any:
        """Make a task of a function: a decorator, with or without options.

        Options are Celery's: ``name``, ``bind``, ``base``, ``shared``, ``filter``, ``autoretry_for``,
        ``retry_backoff``, ``pydantic`` and every attribute of ``Task``.

        Raises:
            AlreadyRegistered: another function has this name.
        """
        if len(args) == 1 and callable(args[0]):
            return self._factory.decorate(args[0], options)
        if args:
            raise TypeError("@app.task takes no positional arguments but the function; write @app.task(name=...)")
        return lambda function: self._factory.decorate(function, options)

    def task_from_function(self, function: Callable[..., Any], **options: Any) -> TaskBase:
        """The task of a function, made when there is none of its name yet. Options are those of ``task``."""
        return self._factory.from_function(function, **options)

    def register_task(self, task: Any, **options: Any) -> TaskBase:
        """Register a task of a class that was written by hand. Returns its instance.

        Raises:
            AlreadyRegistered: another task has this name.
        """
        return self._factory.register(task, options)

    def gen_task_name(self, name: str, module: str) -> str:
        """The name of a task that was given none: its module's and the function's."""
        return task_name(self.main, name, module)

    def autodiscover_tasks(self, packages: Any = None, related_name: str | None = "tasks", force: bool = False) -> None:
        """Import the modules ``<package>.<related_name>`` of these packages, when modules are imported.

        Args:
            packages: their names, or a function that returns them.
            force: import them now.
        """
        if force:
            names = packages() if callable(packages) else packages or ()
            import_modules(related_modules(names, related_name))
        else:
            self._autodiscover.append((packages, related_name))

    def import_default_modules(self) -> None:
        """Import what ``imports``, ``include`` and ``autodiscover_tasks`` name."""
        signals.import_modules.send(sender=self)
        import_modules([*self.conf.imports, *self.conf.include])
        for packages, related_name in self._autodiscover:
            names = packages() if callable(packages) else packages or ()
            import_modules(related_modules(names, related_name))

    # Sending

    def make_sender(self, name: str, options: Mapping[str, Any]) -> sender.Sender:
        """A compiled sender for a task's name with these options as defaults."""
        if not self.finalized and self.autofinalize:
            self.finalize()
        return sender.Sender(self, name, options)

    def send(
        self, name: str, args: Any, kwargs: Any, options: Mapping[str, Any], *, task: TaskBase | None = None
    ) -> Any:
        """Send one call. ``Task.apply_async`` and ``send_task`` end here."""
        return self._calls.send(name, args, kwargs, options, task=task)

    def send_task(
        self,
        name: str,
        args: Any = None,
        kwargs: Any = None,
        countdown: float | None = None,
        eta: Any = None,
        task_id: str | None = None,
        **options: Any,
    ) -> Any:
        """Send a task by its name, which need not be registered here. Returns its ``AsyncResult``."""
        for key, value in (("countdown", countdown), ("eta", eta), ("task_id", task_id)):
            if value is not None:
                options[key] = value
        for gone in ("producer", "connection", "publisher", "router"):
            options.pop(gone, None)
        if self.always_eager:
            warnings.warn(AlwaysEagerIgnored(f"{name} is sent: send_task is never eager"), stacklevel=2)
        return self._calls.send(name, args, kwargs, options)

    def send_many(self, calls: Iterable[calls.Call]) -> list[Any]:
        """Send signatures, or calls as (name, args, kwargs, options), in few round trips; see ``Calls.send_many``."""
        return self._calls.send_many(calls)

    batching, beginning_chord, ending_chord = outbox.batching, outbox.beginning, outbox.ending

    def signature(self, *args: Any, **kwargs: Any) -> Any:
        """A signature bound to this app."""
        kwargs["app"] = self
        return canvas.signature(*args, **kwargs)

    subtask = signature

    def run_eagerly(self, task: TaskBase, args: Any, kwargs: Any, **options: Any) -> Any:
        """Run a task here and now; see ``Task.apply``."""
        if not self.finalized and self.autofinalize:
            self.finalize()
        return self._part("eager", lambda: eager.Eager(self)).run(task, args, kwargs, **options)

    def replace_running(self, task: TaskBase, sig: Any) -> Any:
        """See ``Task.replace``."""
        return replace_running(self, task, sig)

    def add_to_chord(self, task: TaskBase, sig: Any, lazy: bool) -> Any:
        """See ``Task.add_to_chord``."""
        return add_to_chord(self, task, sig, lazy)

    def send_event(self, kind: str, **fields: Any) -> None:
        """Send a monitoring event, where events are on."""
        dispatcher = self._parts.get("event_dispatcher")
        if dispatcher is not None:
            dispatcher.send(kind, **fields)

    def revoke(self, task_ids: Sequence[str], **options: Any) -> None:
        """Tell the workers not to run these."""
        self.control.revoke(list(task_ids), **options)

    # Results

    AsyncResult = BoundClass(lambda: results.AsyncResult)
    GroupResult = BoundClass(lambda: results.GroupResult)
    ResultSet = BoundClass(lambda: results.ResultSet)

    # Life

    def broker_text(self) -> str:
        """The broker's URLs for people."""
        return connections.masked(self.connections.broker_urls(read=True))

    def backend_text(self) -> str:
        """The result backend's URL for people."""
        url = self.connections.backend_url()
        return connections.masked([url]) if url is not None else "disabled://"

    def set_current(self) -> None:
        """Make this the current app of this thread."""
        current.set_current_app(self)

    def set_default(self) -> None:
        """Make this the app of every thread that has no other."""
        current.set_default_app(self)

    @property
    def current_task(self) -> Any:
        """The task that runs here, or None."""
        return current.get_current_task()

    @property
    def current_worker_task(self) -> Any:
        """The task that a worker runs here, or None."""
        return current.get_outermost_task()

    def _forked(self) -> None:
        self.origin = node.origin()
        self._calls.forget()
        self._parts.pop("publisher", None)
        for task in self._tasks.values():
            task._sender = None

    def close(self) -> None:
        """Close this process's connections. The app can be used again; it connects anew."""
        self.connections.close()
        self._parts.pop("publisher", None)

    def start(self, argv: Sequence[str] | None = None) -> None:
        """Run the command line with this app. Raises SystemExit when it does not end well."""
        code = import_object("umbel.cli.main:main")(argv, app=self)
        if code:
            raise SystemExit(code)

    def worker_main(self, argv: Sequence[str] | None = None) -> None:
        """Run a worker with this app; ``argv`` begins with ``worker``."""
        words = list(argv) if argv is not None else ["worker"]
        if "worker" not in words:
            raise ConfigurationError("worker_main takes the words of a command line that begins with 'worker'")
        self.start(words)


def _find_app(main: str | None) -> Any:
    app = current.get_current_app()
    if app.main != main:
        raise LookupError(f"the app {main!r} is not the current one of this process, so it cannot be unpickled here")
    return app


current.set_default_factory(lambda: Umbel("default", set_as_current=False))
