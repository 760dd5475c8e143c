"""The conformance suite for compressors.

class TestMyCompressor(CompressorConformance):
    compressor_class = MyCompressor
"""

from __future__ import annotations

import random
import tracemalloc
from typing import ClassVar

import pytest

from umbel_kernel.errors import ContentTooLarge, DecodeError
from umbel_kernel.spi.compressor import Compressor
from umbel_testkit.background import together

MEGABYTE = 1 << 20
DATA = {
    "empty": b"",
    "one byte": b"x",
    "every byte": bytes(range(256)),
    "text": "příliš žluťoučký kůň ".encode() * 500,
    "zeros": bytes(MEGABYTE),
    "noise": random.Random(3).randbytes(MEGABYTE),
}


class CompressorConformance:
    """Everything that ``umbel_kernel.spi.compressor`` promises.

    Attributes:
        compressor_class: the class to check; it is made without arguments.
        slack: the most bytes that may be in use beyond the limit when a bomb is refused.
    """

    compressor_class: ClassVar[type[Compressor]]
    slack: ClassVar[int] = 8 * MEGABYTE

    @pytest.fixture
    def compressor(self) -> Compressor:
        """One compressor."""
        return self.compressor_class()

    def test_it_says_what_it_is(self, compressor: Compressor) -> None:
        assert compressor.name and compressor.name == compressor.name.lower()
        assert compressor.content_type.count("/") == 1

    @pytest.mark.parametrize("data", DATA.values(), ids=DATA)
    def test_data_comes_back(self, compressor: Compressor, data: bytes) -> None:
        small = compressor.compress(data)
        assert type(small) is bytes
        found = compressor.decompress(small, max_size=len(data) + 1000)
        assert type(found) is bytes
        assert found == data, "the data came back changed"

    def test_it_makes_repetition_smaller(self, compressor: Compressor) -> None:
        assert len(compressor.compress(DATA["text"])) < len(DATA["text"]) // 4

    @pytest.mark.parametrize("size", [1, 1000, MEGABYTE])
    def test_the_limit_itself_is_allowed(self, compressor: Compressor, size: int) -> None:
        small = compressor.compress(DATA["noise"][:size])
        assert len(compressor.decompress(small, max_size=size)) == size

    @pytest.mark.parametrize("size", [1, 1000, MEGABYTE])
    def test_one_byte_over_the_limit_is_refused(self, compressor: Compressor, size: int) -> None:
        small = compressor.compress(DATA["noise"][:size])
        with pytest.raises(ContentTooLarge) as caught:
            compressor.decompress(small, max_size=size - 1)
        assert caught.value.limit == size - 1
        assert caught.value.size > caught.value.limit

    def test_a_bomb_is_refused_in_little_memory(self, compressor: Compressor) -> None:
        bomb = compressor.compress(bytes(64 * MEGABYTE))
        tracemalloc.start()
        try:
            with pytest.raises(ContentTooLarge):
                compressor.decompress(bomb, max_size=MEGABYTE)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < MEGABYTE + self.slack, f"{peak} bytes were in use to refuse what is over {MEGABYTE}"

    @pytest.mark.parametrize("data", [b"", b"x", b"this is not compressed", bytes(100), b"\xff" * 100])
    def test_garbage_is_refused(self, compressor: Compressor, data: bytes) -> None:
        with pytest.raises(DecodeError):
            compressor.decompress(data, max_size=MEGABYTE)

    def test_what_is_cut_short_is_refused(self, compressor: Compressor) -> None:
        small = compressor.compress(DATA["text"])
        for end in (1, len(small) // 2, len(small) - 1):
            with pytest.raises(DecodeError):
                compressor.decompress(small[:end], max_size=MEGABYTE)

    def test_damage_is_refused(self, compressor: Compressor) -> None:
        small = bytearray(compressor.compress(DATA["noise"][:5000]))
        small[len(small) // 2] ^= 0xFF
        with pytest.raises(DecodeError):
            compressor.decompress(bytes(small), max_size=MEGABYTE)

    def test_it_may_be_used_from_several_threads(self, compressor: Compressor) -> None:
        def work() -> bool:
            return all(
                compressor.decompress(compressor.compress(data), max_size=MEGABYTE) == data
                for data in (b"%d " % number * 500 for number in range(50))
            )

        assert together([work for _ in range(4)], within=30) == [True] * 4
