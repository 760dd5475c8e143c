"""The zlib compressor in the conformance suite."""

from __future__ import annotations

from umbel_compressor_zlib import ZlibCompressor
from umbel_testkit.compressor import CompressorConformance


class TestZlibCompressor(CompressorConformance):
    compressor_class = ZlibCompressor
