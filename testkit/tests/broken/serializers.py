"""A serializer on the standard library's json that keeps its contract, and ones that each break a promise of it."""

from __future__ import annotations

import json
from typing import Any

from umbel_kernel.errors import DecodeError, EncodeError
from umbel_kernel.spi.serializer import Serializer
from umbel_testkit.serializer import SerializerConformance


class PlainJson(Serializer):
    name = "plain"
    content_type = "application/json"

    def dumps(self, value: Any) -> bytes:
        try:
            return json.dumps(value).encode()
        except (TypeError, ValueError, RecursionError) as error:
            raise EncodeError(f"cannot write this: {error}") from error

    def loads(self, data: bytes) -> Any:
        try:
            return json.loads(data)
        except (ValueError, RecursionError) as error:
            raise DecodeError(f"not JSON: {type(error).__name__}") from error


class TestKeepsAll(SerializerConformance):
    serializer_class = PlainJson


class TestLetsForeignErrorsOut(SerializerConformance):
    must_fail = "test_garbage_is_refused"

    class serializer_class(PlainJson):
        def loads(self, data: bytes) -> Any:
            return json.loads(data)


class TestWritesAnything(SerializerConformance):
    must_fail = "test_what_cannot_be_written_is_named"

    class serializer_class(PlainJson):
        def dumps(self, value: Any) -> bytes:
            return json.dumps(value, default=repr).encode()


class TestLosesUnicode(SerializerConformance):
    must_fail = "test_plain_data_comes_back"

    class serializer_class(PlainJson):
        def dumps(self, value: Any) -> bytes:
            return super().dumps(value).replace(b"\\u", b"?u")


class TestDiesOfDepth(SerializerConformance):
    must_fail = "test_bytes_too_deep_are_refused"

    class serializer_class(PlainJson):
        def loads(self, data: bytes) -> Any:
            try:
                return json.loads(data)
            except ValueError as error:
                raise DecodeError("not JSON") from error


class TestReturnsText(SerializerConformance):
    must_fail = "test_plain_data_comes_back"

    class serializer_class(PlainJson):
        def dumps(self, value: Any) -> Any:
            return super().dumps(value).decode()
