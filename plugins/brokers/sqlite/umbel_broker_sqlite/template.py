"""The messages of one form: the envelope is written once, and each message fills in what is its own."""

from __future__ import annotations

import dataclasses
import re
import uuid
from json.encoder import encode_basestring_ascii
from typing import Any

from umbel_broker_sqlite.envelope import encode, write
from umbel_kernel.spi.message import Form, Message

_MOST = 512


class Template:
    """An envelope with holes.

    Args:
        message: any message of the form.

    Raises:
        EncodeError: as of ``encode``.
    """

    def __init__(self, message: Message) -> None:
        assert message.form is not None
        mark = uuid.uuid4().hex
        varying = message.form.varying
        sample = dataclasses.replace(
            message,
            headers={**message.headers, **{name: f"{mark}{number}" for number, name in enumerate(varying)}},
            correlation_id=f"{mark}-id",
        )
        parts = re.split(rf'"{mark}(-?\w+)"', encode(sample))
        self._parts = parts
        self._has_bytes = parts[0].startswith("b")
        holes = {parts[at]: at for at in range(1, len(parts), 2)}
        self._id = holes["-id"]
        self._headers = [(holes[str(number)], name) for number, name in enumerate(varying)]

    def envelope(self, message: Message) -> str:
        """The same text as of ``encode``.

        Raises:
            EncodeError: as of ``encode``.
        """
        if self._has_bytes:
            return encode(message)
        parts = self._parts.copy()
        headers = message.headers
        try:
            for at, name in self._headers:
                value: Any = headers[name]
                parts[at] = encode_basestring_ascii(value) if type(value) is str else write(value)
        except (TypeError, ValueError, RecursionError):
            return encode(message)
        identity = message.correlation_id
        parts[self._id] = "null" if identity is None else encode_basestring_ascii(identity)
        return "".join(parts)


class Templates:
    """The templates of the forms that were seen last."""

    def __init__(self) -> None:
        self._found: dict[Form, Template | None] = {}

    def envelope(self, message: Message) -> str:
        """See ``envelope.encode``. The first message of a form, which may be the only one, is written without one."""
        form = message.form
        if form is None:
            return encode(message)
        template = self._found.get(form)
        if template is None:
            if form not in self._found:
                if len(self._found) >= _MOST:
                    self._found.clear()
                self._found[form] = None
                return encode(message)
            template = self._found[form] = Template(message)
        return template.envelope(message)
