"""A compressor on the standard library's zlib that keeps its contract, and ones that each break a promise of it."""

from __future__ import annotations

import zlib

from umbel_kernel.errors import ContentTooLarge, DecodeError
from umbel_kernel.spi.compressor import Compressor
from umbel_testkit.compressor import CompressorConformance


class PlainZlib(Compressor):
    name = "plain"
    content_type = "application/x-plain"

    def compress(self, data: bytes) -> bytes:
        return zlib.compress(data)

    def decompress(self, data: bytes, *, max_size: int) -> bytes:
        reading = zlib.decompressobj()
        try:
            found = reading.decompress(data, max_size + 1)
        except zlib.error as error:
            raise DecodeError(f"not zlib: {error}") from error
        if len(found) > max_size:
            raise ContentTooLarge(len(found), max_size)
        if not reading.eof:
            raise DecodeError("cut short")
        return found


class TestKeepsAll(CompressorConformance):
    compressor_class = PlainZlib


class TestUnpacksBombs(CompressorConformance):
    must_fail = "test_a_bomb_is_refused_in_little_memory"

    class compressor_class(PlainZlib):
        def decompress(self, data: bytes, *, max_size: int) -> bytes:
            found = super().decompress(data, max_size=1 << 30)
            if len(found) > max_size:
                raise ContentTooLarge(len(found), max_size)
            return found


class TestCutsAtTheLimit(CompressorConformance):
    must_fail = "test_one_byte_over_the_limit_is_refused"

    class compressor_class(PlainZlib):
        def decompress(self, data: bytes, *, max_size: int) -> bytes:
            return super().decompress(data, max_size=1 << 30)[:max_size]


class TestTakesWhatIsCutShort(CompressorConformance):
    must_fail = "test_what_is_cut_short_is_refused"

    class compressor_class(PlainZlib):
        def decompress(self, data: bytes, *, max_size: int) -> bytes:
            try:
                return zlib.decompressobj().decompress(data, max_size)
            except zlib.error as error:
                raise DecodeError("not zlib") from error


class TestLetsForeignErrorsOut(CompressorConformance):
    must_fail = "test_garbage_is_refused"

    class compressor_class(PlainZlib):
        def decompress(self, data: bytes, *, max_size: int) -> bytes:
            return zlib.decompress(data)


class TestIsOneOff(CompressorConformance):
    must_fail = "test_the_limit_itself_is_allowed"

    class compressor_class(PlainZlib):
        def decompress(self, data: bytes, *, max_size: int) -> bytes:
            return super().decompress(data, max_size=max_size - 1)
