"""The bzip2 compressor in the conformance suite."""

from __future__ import annotations

from umbel_compressor_bzip2 import Bzip2Compressor
from umbel_testkit.compressor import CompressorConformance


class TestBzip2Compressor(CompressorConformance):
    compressor_class = Bzip2Compressor
