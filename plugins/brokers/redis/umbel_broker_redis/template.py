"""The messages of one form: the envelope is written once, and each message fills in what is its own."""

from __future__ import annotations

import binascii
import dataclasses
import re
import uuid
from json.encoder import encode_basestring_ascii
from typing import Any

from umbel_broker_redis.envelope import encode, pack
from umbel_kernel.spi.message import Message

_SMALL = 1024
"""Characters of a body below which it is kept as it was written: tasks without arguments all have the same."""


class Template:
    """An envelope with holes.

    Args:
        message: any message of the form.
        key: the list that messages of the form are pushed to.

    Attributes:
        key: the list that messages of the form are pushed to.
    """

    def __init__(self, message: Message, key: str) -> None:
        assert message.form is not None
        mark = uuid.uuid4().hex
        varying = message.form.varying
        sample = dataclasses.replace(
            message,
            body=b"",
            headers={**message.headers, **{name: f"{mark}{number}" for number, name in enumerate(varying)}},
            correlation_id=f"{mark}-id",
        )
        text = pack(sample, message.exchange, f"{mark}-tag").decode("ascii")
        # The body is the first member of the envelope, and empty in the sample.
        head, tail = text.split('"body": ""', 1)
        parts = re.split(rf'"{mark}(-?\w+)"', f'{head}"body": "{mark}-body"{tail}')
        self._parts = parts
        holes = {parts[at]: at for at in range(1, len(parts), 2)}
        self._body, self._id, self._tag = holes["-body"], holes["-id"], holes["-tag"]
        self._headers = [(holes[str(number)], name) for number, name in enumerate(varying)]
        self.key = key.encode()
        self._written: tuple[bytes, str] = (b"", '""')

    def envelope(self, message: Message, tag: str) -> bytes:
        """The same bytes as of ``pack``.

        Args:
            tag: as for ``pack``.

        Raises:
            TypeError, ValueError: a header is no plain data.
        """
        parts = self._parts.copy()
        written = self._written
        if message.body is not written[0]:
            text = f'"{binascii.b2a_base64(message.body, newline=False).decode("ascii")}"'
            written = message.body, text
            if len(text) < _SMALL:
                self._written = written
        parts[self._body] = written[1]
        headers, identity = message.headers, message.correlation_id
        # The task's id, which stands in headers too.
        shown = "null" if identity is None else encode_basestring_ascii(identity)
        for at, name in self._headers:
            value: Any = headers[name]
            if type(value) is str:
                parts[at] = shown if value is identity else encode_basestring_ascii(value)
            else:
                parts[at] = str(value) if type(value) is int else encode(value)
        parts[self._id] = shown
        parts[self._tag] = f'"{tag}"'
        return "".join(parts).encode("ascii")
