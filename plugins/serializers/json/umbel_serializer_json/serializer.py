"""The serializer: the standard library's C encoder and decoder, and type tags only where there are some."""

from __future__ import annotations

import json
import json.encoder
import sys
from collections.abc import Callable
from typing import Any, ClassVar

from umbel_kernel.errors import DecodeError, EncodeError
from umbel_kernel.spi.serializer import Serializer
from umbel_serializer_json.depth import DEEPEST, nests_too_deeply
from umbel_serializer_json.tags import TYPE, from_plain, to_plain

_TAG = f'"{TYPE}"'.encode()
_PLAIN = json.JSONDecoder()
_TAGGED = json.JSONDecoder(object_hook=from_plain)
# Older decoders stop at about a thousand levels by themselves; newer ones go on to the end of the thread's stack.
_UNLIMITED = sys.version_info >= (3, 12)
_SAMPLE = [[1, -2.5, "é\n"], {"a": None, "b": True}, {}]


def _make_encode() -> Callable[[Any], str]:
    """A function that writes as ``json.dumps`` does.

    ``JSONEncoder.encode`` builds the same C encoder anew for each value, which is half of the time that a task's
    arguments take. One built once is used where this interpreter makes it as expected, and ``encode`` where not.
    """
    slow = json.JSONEncoder(default=to_plain)
    make: Any = getattr(json.encoder, "c_make_encoder", None)
    if make is None:
        return slow.encode
    try:
        # No table of the values in hand: it would be shared by threads. A value that holds itself is met by the
        # limit on recursion instead.
        chunks = make(
            None, to_plain, json.encoder.encode_basestring_ascii, None, slow.key_separator, slow.item_separator,
            slow.sort_keys, slow.skipkeys, slow.allow_nan,
        )  # fmt: skip
        if "".join(chunks(_SAMPLE, 0)) != slow.encode(_SAMPLE):
            return slow.encode
    except TypeError:
        return slow.encode
    join = "".join
    return lambda value: join(chunks(value, 0))


_encode = _make_encode()


def _decode(decoder: json.JSONDecoder, text: str) -> Any:
    if text[:1].isspace():
        return decoder.decode(text)
    value, end = decoder.raw_decode(text)
    # What follows the value is white space or a fault; the whole text is read again to say which.
    return value if end == len(text) else decoder.decode(text)


class JsonSerializer(Serializer):
    """Writes the very bytes that kombu 5.7 writes, and reads what it wrote.

    ``NaN`` and ``Infinity`` pass, as they do there. Tuples come back as lists and keys as strings.
    """

    name: ClassVar[str] = "json"
    content_type: ClassVar[str] = "application/json"
    content_encoding: ClassVar[str] = "utf-8"
    trusted: ClassVar[bool] = True

    def dumps(self, value: Any) -> bytes:
        """See ``Serializer.dumps``."""
        try:
            return _encode(value).encode()
        except RecursionError:
            raise EncodeError("a value nests too deeply to be written as JSON, or holds itself") from None
        except TypeError as error:
            raise EncodeError(str(error)) from error
        except Exception as error:  # a value's own __json__ may raise anything
            raise EncodeError(f"a value cannot be written as JSON: {type(error).__name__}: {error}") from error

    def loads(self, data: bytes) -> Any:
        """See ``Serializer.loads``."""
        if _UNLIMITED and nests_too_deeply(data):
            raise DecodeError(f"JSON that nests too deeply: more than {DEEPEST} levels")
        try:
            # A hook costs a Python call for each object, so it is used only where a tag can be.
            return _decode(_TAGGED if _TAG in data else _PLAIN, data.decode())
        except RecursionError:
            raise DecodeError("JSON that nests too deeply") from None
        except ValueError as error:
            raise DecodeError(f"a body of {len(data)} bytes is not JSON in UTF-8: {error}") from error
