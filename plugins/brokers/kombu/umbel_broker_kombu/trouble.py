"""Turns the errors of kombu and of the client libraries under it into ours."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import kombu.exceptions

from umbel_kernel.errors import ChannelError, OperationalError
from umbel_kernel.url import mask


@contextmanager
def translated(connection: Any, shown: str, lost: Callable[[], None] | None = None) -> Iterator[None]:
    """Raise ``OperationalError`` when the connection is lost and ``ChannelError`` when the broker refuses.

    Args:
        connection: kombu's connection, which knows the errors of its transport.
        shown: the masked URL.
        lost: called before ``OperationalError`` is raised.
    """
    refused = tuple(connection.channel_errors)
    broken = (*connection.connection_errors, kombu.exceptions.OperationalError, OSError)
    try:
        yield
    except (ChannelError, OperationalError):
        raise
    except refused as error:
        if isinstance(error, broken):
            if lost is not None:
                lost()
            raise OperationalError(f"lost {shown}: {mask(str(error)) or type(error).__name__}") from error
        raise ChannelError(f"{shown} refuses: {mask(str(error)) or type(error).__name__}") from error
    except broken as error:
        if lost is not None:
            lost()
        reason = mask(str(error)) or type(error).__name__
        raise OperationalError(f"cannot reach or lost {shown}: {reason}; is it running?") from error
