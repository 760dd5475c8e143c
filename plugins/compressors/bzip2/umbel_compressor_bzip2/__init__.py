"""bzip2 (application/x-bz2)."""

from __future__ import annotations

from umbel_compressor_bzip2.compressor import Bzip2Compressor

__all__ = ["Bzip2Compressor"]
