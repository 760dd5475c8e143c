"""The contract of a serializer: values to bytes and back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar


class Serializer(ABC):
    """Turns values into bytes and back. It has no state and may be used from several threads.

    Attributes:
        trusted: whether reading a stranger's bytes is safe. One that is not is refused unless the user's
            ``accept_content`` names it.
    """

    name: ClassVar[str]  # as in ``task_serializer``
    content_type: ClassVar[str]  # its MIME type on the wire
    content_encoding: ClassVar[str] = "utf-8"  # or ``binary``
    trusted: ClassVar[bool] = True

    @abstractmethod
    def dumps(self, value: Any) -> bytes:
        """Write a value.

        Raises:
            EncodeError: it holds something that cannot be written; the message names its type.
        """

    @abstractmethod
    def loads(self, data: bytes) -> Any:
        """Read a value. The framework has checked the size before.

        Raises:
            DecodeError: the bytes are not this format, or nest too deeply.
        """
