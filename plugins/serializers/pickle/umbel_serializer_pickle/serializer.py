"""The serializer: pickle at the protocol that kombu writes."""

from __future__ import annotations

import pickle
from typing import Any, ClassVar

from umbel_kernel.errors import DecodeError, EncodeError
from umbel_kernel.spi.serializer import Serializer

PROTOCOL = 4


class PickleSerializer(Serializer):
    """Writes and reads any Python object that pickle can.

    Reading a pickle runs what its author put in: accept it only from a broker to which nobody else can write.
    """

    name: ClassVar[str] = "pickle"
    content_type: ClassVar[str] = "application/x-python-serialize"
    content_encoding: ClassVar[str] = "binary"
    trusted: ClassVar[bool] = False

    def dumps(self, value: Any) -> bytes:
        """See ``Serializer.dumps``."""
        try:
            return pickle.dumps(value, PROTOCOL)
        except Exception as error:  # an object's own __reduce__ may raise anything
            named = f"{type(value).__module__}.{type(value).__qualname__}"
            raise EncodeError(f"a {named} cannot be pickled: {type(error).__name__}: {error}") from error

    def loads(self, data: bytes) -> Any:
        """See ``Serializer.loads``."""
        try:
            return pickle.loads(data)
        except Exception as error:  # a pickle calls constructors, which may raise anything
            raise DecodeError(
                f"a body of {len(data)} bytes cannot be unpickled: {type(error).__name__}: {error}"
            ) from error
