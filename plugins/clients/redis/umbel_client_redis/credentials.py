"""User and password from somebody who is asked for each connection, for passwords that live shortly."""

from __future__ import annotations

import importlib
from typing import Any

from umbel_client_redis.errors import Disconnected
from umbel_kernel.errors import ConfigurationError


class Credentials:
    """What a credential provider of redis-py's kind says: an object with ``get_credentials``.

    Args:
        provider: the object, or the dotted path of its class, which is made without arguments.

    Raises:
        ConfigurationError: it cannot be imported, or is none.
    """

    def __init__(self, provider: Any) -> None:
        self._provider = _made(provider) if isinstance(provider, str) else provider
        if not callable(getattr(self._provider, "get_credentials", None)):
            raise ConfigurationError(f"the credential provider {type(provider).__name__} has no method get_credentials")

    def ask(self) -> tuple[str | None, str]:
        """User and password for the next connection; without a user, the password of the default one.

        Raises:
            Disconnected: it does not say.
        """
        name = type(self._provider).__name__
        try:
            found = self._provider.get_credentials()
            user, password = found if len(found) > 1 else (None, *found)
        except Exception as error:
            raise Disconnected(f"the credential provider {name} raises {type(error).__name__}") from error
        return user, password


def _made(path: str) -> Any:
    module, _, name = path.replace(":", ".").rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)()
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise ConfigurationError(f"the credential provider {path!r} cannot be made: {error}") from error
