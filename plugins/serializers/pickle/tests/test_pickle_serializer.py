"""The pickle serializer against kombu's own codec, and against bodies that are none."""

from __future__ import annotations

import threading
from datetime import datetime
from typing import Any

import pytest
from kombu.serialization import dumps as kombu_dumps
from kombu.serialization import loads as kombu_loads

from umbel_kernel.errors import DecodeError, EncodeError
from umbel_serializer_pickle import PickleSerializer

pickle_serializer = PickleSerializer()
VALUES: list[Any] = [None, [(1, 2), {3}], {"a": b"\x00"}, datetime(2026, 1, 2), ValueError("no")]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_writes_the_bytes_that_kombu_writes_and_reads_them(value: Any) -> None:
    content_type, content_encoding, body = kombu_dumps(value, "pickle")
    assert pickle_serializer.dumps(value) == body
    assert (pickle_serializer.content_type, pickle_serializer.content_encoding) == (content_type, content_encoding)
    assert repr(pickle_serializer.loads(body)) == repr(value)
    read = kombu_loads(pickle_serializer.dumps(value), content_type, content_encoding, accept={content_type})
    assert repr(read) == repr(value)


def test_it_is_not_trusted() -> None:
    assert PickleSerializer.trusted is False


def test_what_cannot_be_pickled_is_an_encode_error() -> None:
    with pytest.raises(EncodeError, match=r"_thread\.lock"):
        pickle_serializer.dumps(threading.Lock())


@pytest.mark.parametrize("body", [b"", b"json?", b"cno_such_module\nname\n.", b"\x80\x04K"])
def test_a_bad_body_is_a_decode_error(body: bytes) -> None:
    with pytest.raises(DecodeError):
        pickle_serializer.loads(body)
