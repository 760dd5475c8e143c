"""Signals: events that other code in the same process listens to."""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Callable
from typing import Any

logger = logging.getLogger(__name__)

Receiver = Callable[..., Any]


class Signal:
    """Calls its receivers when sent. An error of a receiver is logged and kept from the sender.

    Args:
        name: for people.
        providing_args: the names of the keyword arguments it is sent with.
        use_caching: accepted for those who make their own signals; has no effect.
    """

    def __init__(
        self, providing_args: set[str] | None = None, use_caching: bool = False, name: str | None = None
    ) -> None:
        self.name = name
        self.providing_args = providing_args or set()
        self._lock = threading.Lock()
        self._receivers: list[tuple[Any, Any, Callable[[], Receiver | None]]] = []

    @property
    def receivers(self) -> list[Receiver]:
        """The receivers that are connected and alive."""
        return [receiver for _, _, look_up in self._receivers if (receiver := look_up()) is not None]

    def has_listeners(self, sender: Any = None) -> bool:
        """Whether anybody would be called."""
        return any(wanted is None or wanted == _identity(sender) for _, wanted, _ in self._receivers)

    def connect(self, *args: Any, **kwargs: Any) -> Any:
        """Connect a receiver; also a decorator, with or without arguments.

        Args:
            receiver: called with ``signal``, ``sender`` and the signal's own keyword arguments.
            sender: only when sent by this one (for task signals a task or its name); None for any.
            weak: keep no reference, so that a receiver nobody else holds goes away. Default: True.
            dispatch_uid: connecting again under the same one replaces the receiver.
            retry: accepted; a receiver that fails is logged and not called again.
        """
        if args and callable(args[0]):
            return self._connect(*args, **kwargs)

        def connecting(receiver: Receiver) -> Receiver:
            self._connect(receiver, *args, **kwargs)
            return receiver

        return connecting

    def _connect(
        self,
        receiver: Receiver,
        sender: Any = None,
        weak: bool = True,
        dispatch_uid: Any = None,
        retry: bool = False,
    ) -> Receiver:
        wanted = _identity(sender)
        key = (dispatch_uid if dispatch_uid is not None else _identity(receiver), wanted)
        look_up: Callable[[], Receiver | None]
        if not weak:
            look_up = _Strong(receiver)
        elif hasattr(receiver, "__self__"):
            look_up = weakref.WeakMethod(receiver, self._forget)
        else:
            look_up = weakref.ref(receiver, self._forget)
        with self._lock:
            kept = [entry for entry in self._receivers if entry[0] != key]
            self._receivers = [*kept, (key, wanted, look_up)]
        return receiver

    def disconnect(
        self, receiver: Receiver | None = None, sender: Any = None, weak: Any = None, dispatch_uid: Any = None
    ) -> bool:
        """Disconnect a receiver. Returns whether it was connected."""
        key = (dispatch_uid if dispatch_uid is not None else _identity(receiver), _identity(sender))
        with self._lock:
            kept = [entry for entry in self._receivers if entry[0] != key]
            found = len(kept) != len(self._receivers)
            self._receivers = kept
        return found

    def send(self, sender: Any, **named: Any) -> list[tuple[Receiver, Any]]:
        """Call the receivers in the order of their connection.

        Returns each with what it returned, or with the exception that it raised.
        """
        if not self._receivers:
            return []
        identity = _identity(sender)
        answers: list[tuple[Receiver, Any]] = []
        for _, wanted, look_up in self._receivers:
            if wanted is not None and wanted != identity and wanted != getattr(sender, "name", identity):
                continue
            receiver = look_up()
            if receiver is None:
                continue
            try:
                answers.append((receiver, receiver(signal=self, sender=sender, **named)))
            except Exception as error:
                logger.exception("Signal handler %r raised: %r", receiver, error)
                answers.append((receiver, error))
        return answers

    send_robust = send

    def _forget(self, reference: Any) -> None:
        with self._lock:
            self._receivers = [entry for entry in self._receivers if entry[2] is not reference]

    def __repr__(self) -> str:
        return f"<Signal: {self.name} providing_args={sorted(self.providing_args)}>"


class _Strong:
    """Holds a receiver as a weak reference would answer for it."""

    __slots__ = ("_receiver",)

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver

    def __call__(self) -> Receiver:
        return self._receiver


def _identity(thing: Any) -> Any:
    if thing is None or isinstance(thing, str):
        return thing
    if hasattr(thing, "__self__") and hasattr(thing, "__func__"):
        return (id(thing.__self__), id(thing.__func__))
    return id(thing)
