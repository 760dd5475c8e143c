"""The codec of an app: values to bodies and back, by content type, and compression around them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from umbel.model.forking import load
from umbel_kernel import plugins
from umbel_kernel.errors import (
    ConfigurationError,
    ContentRefused,
    ContentTooLarge,
    DecodeError,
    EncodeError,
    PluginError,
    PluginNotFound,
)
from umbel_kernel.spi.compressor import Compressor
from umbel_kernel.spi.serializer import Serializer

MAX_SIZE = 64 * 1024 * 1024
"""The default limit on a body, in bytes."""

RAW = "raw"
"""The serializer of text and bytes as they are; it is no plugin."""

RAW_TYPES = frozenset(("application/data", "application/text", "text/plain"))
"""Content types that carry text or bytes as they are. kombu writes the first for ``raw`` and the last for bare text."""

# By a fixed table, since the standard library would import a module by the name that a stranger wrote.
_TEXT_ENCODINGS: Mapping[str, str] = {
    "": "utf-8",
    "utf-8": "utf-8",
    "utf8": "utf-8",
    "us-ascii": "ascii",
    "ascii": "ascii",
    "iso-8859-1": "latin-1",
    "latin-1": "latin-1",
}
_BINARY_ENCODINGS = frozenset(("binary", "ascii-8bit"))

Reader = Callable[[bytes], Any]
Writer = tuple[Callable[[Any], bytes], str, str]


class Content:
    """Writes and reads bodies. It may be used from several threads, and imports a plugin when it is first needed.

    Args:
        accept: the serializers whose bodies may be read, by name or by content type; None means every installed one
            that is trusted. A serializer that is not trusted is read only when it is named here. Raw text and bytes
            are always read.
        max_size: the largest body in bytes, as it arrives and after decompression.

    Raises:
        ConfigurationError: ``accept`` is a text instead of a list.
    """

    def __init__(self, accept: Iterable[str] | None = ("json",), *, max_size: int = MAX_SIZE) -> None:
        if isinstance(accept, str):
            raise ConfigurationError(f"accept_content is a list of names or content types, as in [{accept!r}]")
        self.accept = None if accept is None else tuple(accept)
        self.max_size = max_size
        self._writers: dict[str, Writer] = {}
        self._readers: dict[tuple[str, ...] | None, dict[str, Reader]] = {}
        self._accepted = self._readers.setdefault(self.accept, {})
        self._compressors: dict[str, Compressor] = {}

    def dumps(self, value: Any, serializer: str) -> tuple[bytes, str, str]:
        """Write a value; returns the body, its content type and its content encoding.

        Raises:
            EncodeError: the serializer cannot write it.
            PluginNotFound: no such serializer is installed.
        """
        writer = self._writers.get(serializer)
        if writer is None:
            if serializer == RAW:
                return _write_raw(value)
            plugin = _serializer(serializer)
            writer = self._writers[serializer] = (plugin.dumps, plugin.content_type, plugin.content_encoding)
        write, content_type, content_encoding = writer
        return write(value), content_type, content_encoding

    def loads(
        self, body: bytes, content_type: str, content_encoding: str, *, accept: Iterable[str] | None = None
    ) -> Any:
        """Read a body.

        Args:
            content_type: as it came; empty means ``application/data``.
            content_encoding: as it came; raw text is read by it, and what a serializer reads comes to it in UTF-8 or as
                bytes.
            accept: instead of the ``accept`` given at construction.

        Raises:
            ContentTooLarge: it is over ``max_size``; nothing was parsed.
            ContentRefused: the content type is not accepted or not known, or the content encoding is not known.
            DecodeError: the body is not what its content type says.
        """
        if len(body) > self.max_size:
            raise ContentTooLarge(len(body), self.max_size)
        readers = self._accepted if accept is None else self._readers.setdefault(tuple(accept), {})
        try:
            read = readers[content_type]
        except (KeyError, TypeError):
            if not content_type or (isinstance(content_type, str) and content_type in RAW_TYPES):
                return _read_raw(body, content_encoding)
            read = self._find_reader(content_type, self.accept if accept is None else tuple(accept))
        if content_encoding != "utf-8" and content_encoding != "binary":
            body = _as_utf_8(body, content_encoding)
        return read(body)

    def check(self) -> None:
        """Import every accepted serializer now, so that a wrong ``accept`` is told at the start.

        Raises:
            PluginNotFound: one is not installed.
        """
        for entry in self.accept or ():
            if entry == RAW or entry in RAW_TYPES:
                continue
            if "/" not in entry:
                _serializer(entry)
            elif entry not in _installed("serializers"):
                raise PluginNotFound("serializers", entry, sorted(_installed("serializers")))

    def compress(self, data: bytes, name: str) -> tuple[bytes, str]:
        """Compress a body; returns it and the content type for the ``compression`` header.

        Args:
            name: of a compressor, or its content type.

        Raises:
            PluginNotFound: no such compressor is installed.
        """
        compressor = self._compressors.get(name)
        if compressor is None:
            compressor = self._compressors[name] = _compressor(_installed("compressors").get(name, name))
        return compressor.compress(data), compressor.content_type

    def decompress(self, data: bytes, content_type_or_name: str) -> bytes:
        """Restore a body of which a header says how it was compressed.

        Raises:
            ContentTooLarge: it is over ``max_size`` before or after; no more than that was restored.
            ContentRefused: no installed compressor reads it.
            DecodeError: it is not what the header says.
        """
        if len(data) > self.max_size:
            raise ContentTooLarge(len(data), self.max_size)
        try:
            compressor = self._compressors[content_type_or_name]
        except (KeyError, TypeError):
            compressor = self._compressors[content_type_or_name] = _find_compressor(content_type_or_name)
        return compressor.decompress(data, max_size=self.max_size)

    def _find_reader(self, content_type: str, accept: tuple[str, ...] | None) -> Reader:
        readers = self._readers[accept]
        if accept is None:
            name = _installed("serializers").get(content_type) if isinstance(content_type, str) else None
            serializer = _serializer(name) if name else None
            if serializer is not None and serializer.trusted:
                return readers.setdefault(content_type, serializer.loads)
        elif isinstance(content_type, str):
            found = [serializer for entry in accept if (serializer := _accepted_serializer(entry)) is not None]
            # In one step, since another thread may be reading the table.
            readers.update({serializer.content_type: serializer.loads for serializer in found})
            if content_type in readers:
                return readers[content_type]
        raise ContentRefused(_refusal(content_type, accept))


def _write_raw(value: Any) -> tuple[bytes, str, str]:
    if isinstance(value, str):
        return value.encode(), "application/data", "utf-8"
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value), "application/data", "binary"
    raise EncodeError(f"the serializer {RAW!r} writes text and bytes, not a {type(value).__qualname__}")


def _read_raw(body: bytes, content_encoding: str) -> str | bytes:
    named = content_encoding.lower() if isinstance(content_encoding, str) else ""
    if named in _BINARY_ENCODINGS:
        return body
    encoding = _text_encoding(content_encoding)
    try:
        return body.decode(encoding)
    except UnicodeDecodeError as error:
        raise DecodeError(f"a body of {len(body)} bytes is not text in {encoding}: {error}") from error


def _as_utf_8(body: bytes, content_encoding: str) -> bytes:
    named = content_encoding.lower() if isinstance(content_encoding, str) else ""
    if named in _BINARY_ENCODINGS or _text_encoding(content_encoding) != "latin-1":
        return body
    return body.decode("latin-1").encode()


def _text_encoding(content_encoding: object) -> str:
    """Python's name for it, from the fixed table."""
    named = content_encoding.lower() if isinstance(content_encoding, str) else ""
    encoding = _TEXT_ENCODINGS.get(named)
    if encoding is None:
        raise ContentRefused(
            f"text in the content encoding {named[:80]!r}, which is not read here; "
            f"send it as one of: {', '.join(sorted(filter(None, (*_TEXT_ENCODINGS, *_BINARY_ENCODINGS))))}"
        )
    return encoding


def _accepted_serializer(entry: str) -> Serializer | None:
    """The serializer that an entry of ``accept`` stands for, or None when it cannot be had."""
    name = _installed("serializers").get(entry) if "/" in entry else entry
    if name is None:
        return None
    try:
        return _serializer(name)
    except PluginError:
        # One that is missing must not keep the others from being read; the refusal names it when it was meant.
        return None


def _refusal(content_type: object, accept: tuple[str, ...] | None) -> str:
    shown = repr(content_type)[:100]
    accepted = "every trusted serializer" if accept is None else ", ".join(accept) or "nothing"
    said = f"a body of content type {shown} is refused; accepted here: {accepted}; "
    installed = _installed("serializers")
    name = installed.get(content_type) if isinstance(content_type, str) else None
    if name is not None:
        warning = (
            "" if _serializer(name).trusted else " if nobody but you can write to the broker, since it can run code"
        )
        return f"{said}add {name!r} to accept_content to read it{warning}"
    missing = [entry for entry in accept or () if _accepted_serializer(entry) is None and entry != RAW]
    if missing:
        return f"{said}of these not installed or not usable: {', '.join(missing)}"
    return f"{said}no installed serializer reads it; installed: {', '.join(sorted(installed)) or 'none'}"


def _serializer(name: str) -> Serializer:
    serializer: Serializer = load("serializers", name)()
    return serializer


def _compressor(name: str) -> Compressor:
    compressor: Compressor = load("compressors", name)()
    return compressor


def _find_compressor(wanted: object) -> Compressor:
    by_type = _installed("compressors")
    names = {plugin.name for plugin in plugins.installed("compressors")}
    name = by_type.get(wanted, wanted) if isinstance(wanted, str) else None
    if name in names:
        return _compressor(name)
    raise ContentRefused(
        f"a body compressed as {repr(wanted)[:100]} cannot be restored; "
        f"installed compressors: {', '.join(sorted(names)) or 'none'}"
    )


def _installed(kind: str) -> Mapping[str, str]:
    """Names of the installed plugins of a kind by their content types. Imports them all."""
    found: dict[str, str] = {}
    for plugin in plugins.installed(kind):
        try:
            loaded = load(kind, plugin.name)
        except PluginError:
            # One broken plugin must not keep the others from being read.
            continue
        found.setdefault(loaded.content_type, loaded.name)
    return found
