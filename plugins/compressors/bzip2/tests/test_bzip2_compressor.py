"""The bzip2 compressor against kombu's, and against streams that are none or grow too large."""

from __future__ import annotations

import bz2
import os
import tracemalloc

import pytest
from kombu.compression import compress as kombu_compress
from kombu.compression import decompress as kombu_decompress

from umbel_compressor_bzip2 import Bzip2Compressor
from umbel_kernel.errors import ContentTooLarge, DecodeError

compressor = Bzip2Compressor()
LARGE = 1 << 30


@pytest.mark.parametrize("data", [b"", b"x", b"text " * 1000, os.urandom(5000)], ids=["none", "one", "text", "random"])
def test_each_side_reads_the_other(data: bytes) -> None:
    packed, content_type = kombu_compress(data, "bzip2")
    assert content_type == compressor.content_type == "application/x-bz2"
    assert compressor.decompress(packed, max_size=LARGE) == data
    assert kombu_decompress(compressor.compress(data), "bzip2") == data


def test_a_body_of_exactly_the_limit_passes() -> None:
    packed = compressor.compress(b"a" * 1000)
    assert compressor.decompress(packed, max_size=1000) == b"a" * 1000
    with pytest.raises(ContentTooLarge) as caught:
        compressor.decompress(packed, max_size=999)
    assert caught.value.limit == 999


def test_a_bomb_costs_little_more_than_the_limit() -> None:
    bomb = bz2.compress(bytes(50_000_000))
    tracemalloc.start()
    try:
        with pytest.raises(ContentTooLarge):
            compressor.decompress(bomb, max_size=1_000_000)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 10_000_000


def test_a_stream_that_is_none_or_cut_short_is_a_decode_error() -> None:
    packed = compressor.compress(b"text " * 1000)
    for data in (b"", b"no stream at all", packed[:-1], packed[:20]):
        with pytest.raises(DecodeError):
            compressor.decompress(data, max_size=LARGE)
