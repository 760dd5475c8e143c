"""zlib (application/x-gzip)."""

from __future__ import annotations

from umbel_compressor_zlib.compressor import ZlibCompressor

__all__ = ["ZlibCompressor"]
