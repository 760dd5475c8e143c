"""The contract of a compressor: bytes to fewer bytes and back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar


class Compressor(ABC):
    """Compresses and restores bytes. It has no state and may be used from several threads."""

    name: ClassVar[str]  # as in ``task_compression``
    content_type: ClassVar[str]  # what stands in the ``compression`` header, such as ``application/x-gzip``

    @abstractmethod
    def compress(self, data: bytes) -> bytes:
        """Make it smaller, if it can be."""

    @abstractmethod
    def decompress(self, data: bytes, *, max_size: int) -> bytes:
        """Restore it, stopping as soon as the result is larger than ``max_size`` bytes.

        Raises:
            ContentTooLarge: the result is larger; memory for little more than the limit was used.
            DecodeError: the bytes are not this format, or are cut short.
        """
