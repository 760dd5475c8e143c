"""The compressor: zlib streams under the content type that kombu gives them."""

from __future__ import annotations

import zlib
from typing import ClassVar

from umbel_kernel.errors import ContentTooLarge, DecodeError
from umbel_kernel.spi.compressor import Compressor

# Adding 32 has zlib tell its own header (RFC 1950) from gzip's (RFC 1952).
_EITHER_HEADER = zlib.MAX_WBITS | 32


class ZlibCompressor(Compressor):
    """Writes zlib streams, as kombu does for ``gzip`` and ``zlib`` alike, and reads gzip files too."""

    name: ClassVar[str] = "zlib"
    content_type: ClassVar[str] = "application/x-gzip"

    def compress(self, data: bytes) -> bytes:
        """See ``Compressor.compress``."""
        return zlib.compress(data)

    def decompress(self, data: bytes, *, max_size: int) -> bytes:
        """See ``Compressor.decompress``."""
        stream = zlib.decompressobj(_EITHER_HEADER)
        try:
            result = stream.decompress(data, max_size + 1)
        except zlib.error as error:
            raise DecodeError(f"a body of {len(data)} bytes is not a zlib stream: {error}") from error
        if len(result) > max_size:
            raise ContentTooLarge(len(result), max_size)
        if not stream.eof:
            raise DecodeError(f"a zlib stream of {len(data)} bytes is cut short after {len(result)} bytes of content")
        return result
