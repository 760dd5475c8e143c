"""The compressor: bzip2 streams."""

from __future__ import annotations

import bz2
from typing import ClassVar

from umbel_kernel.errors import ContentTooLarge, DecodeError
from umbel_kernel.spi.compressor import Compressor


class Bzip2Compressor(Compressor):
    """Writes and reads one bzip2 stream, as kombu does for ``bzip2`` and ``bzip`` alike."""

    name: ClassVar[str] = "bzip2"
    content_type: ClassVar[str] = "application/x-bz2"

    def compress(self, data: bytes) -> bytes:
        """See ``Compressor.compress``."""
        return bz2.compress(data)

    def decompress(self, data: bytes, *, max_size: int) -> bytes:
        """See ``Compressor.decompress``."""
        stream = bz2.BZ2Decompressor()
        try:
            result = stream.decompress(data, max_size + 1)
        except OSError as error:
            raise DecodeError(f"a body of {len(data)} bytes is not a bzip2 stream: {error}") from error
        if len(result) > max_size:
            raise ContentTooLarge(len(result), max_size)
        if not stream.eof:
            raise DecodeError(f"a bzip2 stream of {len(data)} bytes is cut short after {len(result)} bytes of content")
        return result
