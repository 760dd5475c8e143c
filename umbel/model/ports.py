"""What lower floors need of an app and its tasks, as protocols, so that they import neither."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from umbel_kernel.spi.backend import Backend, BackendCapability


class TaskPort(Protocol):
    """A registered task, as signatures and results see it."""

    name: str
    ignore_result: bool

    def apply_async(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        """Send the task; returns its ``AsyncResult``."""
        ...

    def apply(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        """Run the task here and now; returns an ``EagerResult``."""
        ...


class ContentPort(Protocol):
    """Reads and writes bodies by the app's rules; ``umbel.wire.content.Content``."""

    def dumps(self, value: Any, serializer: str) -> tuple[bytes, str, str]:
        """Body, content type and content encoding."""
        ...

    def loads(self, body: bytes, content_type: str, content_encoding: str) -> Any:
        """The value."""
        ...


class AppPort(Protocol):
    """An app, as signatures and results see it."""

    main: str | None
    conf: Any

    @property
    def tasks(self) -> Mapping[str, Any]:
        """Its tasks by name, each a ``TaskPort``."""
        ...

    @property
    def backend(self) -> Any:
        """The app's ``umbel.results.store.ResultStore``."""
        ...

    @property
    def content(self) -> Any:
        """The app's codec, a ``ContentPort``."""
        ...

    @property
    def backend_capabilities(self) -> frozenset[BackendCapability]:
        """What that plugin can do; it is not connected for that."""
        ...

    def load_backend(self) -> Backend:
        """The connected plugin behind ``backend``, of this process."""
        ...

    def send_task(self, name: str, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        """Send a task by its name; returns its ``AsyncResult``."""
        ...

    def send_many(self, calls: Iterable[Any]) -> list[Any]:
        """Send several, each (name, args, kwargs, options), in batches; returns their results in order."""
        ...

    def batching(self) -> AbstractContextManager[None]:
        """Within it, messages are kept back, and published at its end, in batches. After an error none is."""
        ...

    def revoke(self, task_ids: Sequence[str], **options: Any) -> None:
        """Tell the workers not to run these."""
        ...
