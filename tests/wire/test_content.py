"""The codec of an app: what it writes, what it reads and what it refuses."""

from __future__ import annotations

import zlib
from typing import Any

import pytest
from kombu.serialization import dumps as kombu_dumps

from umbel.wire.content import Content
from umbel_kernel.errors import (
    ConfigurationError,
    ContentRefused,
    ContentTooLarge,
    DecodeError,
    EncodeError,
    PluginNotFound,
)

PICKLE = "application/x-python-serialize"


class Canary:
    """Unpickling one is the harm that a refusal prevents."""

    hurt = False

    def __reduce__(self) -> tuple[Any, ...]:
        return (hurt, ())


def hurt() -> None:
    Canary.hurt = True


def test_json_comes_back() -> None:
    content = Content()
    body, content_type, content_encoding = content.dumps([1, {"a": None}], "json")
    assert (body, content_type, content_encoding) == (b'[1, {"a": null}]', "application/json", "utf-8")
    assert content.loads(body, content_type, content_encoding) == [1, {"a": None}]
    assert content.loads(body, content_type, content_encoding) == [1, {"a": None}]


@pytest.mark.parametrize("accept", [("pickle",), (PICKLE,), ("json", "pickle")])
def test_an_untrusted_serializer_is_read_when_it_is_named(accept: tuple[str, ...]) -> None:
    content = Content(accept)
    body, content_type, content_encoding = content.dumps({1, 2}, "pickle")
    assert (content_type, content_encoding) == (PICKLE, "binary")
    assert content.loads(body, content_type, content_encoding) == {1, 2}


@pytest.mark.parametrize("accept", [("json",), None, (), ("application/json",), ("raw",)])
def test_an_untrusted_serializer_is_refused_when_it_is_not_named(accept: tuple[str, ...] | None) -> None:
    content = Content(accept)
    body, content_type, content_encoding = content.dumps(Canary(), "pickle")
    with pytest.raises(ContentRefused, match="add 'pickle' to accept_content"):
        content.loads(body, content_type, content_encoding)
    assert Canary.hurt is False


def test_a_refusal_says_what_is_accepted() -> None:
    with pytest.raises(ContentRefused, match=r"'application/x-what' is refused; accepted here: json; .* installed: "):
        Content().loads(b"?", "application/x-what", "binary")


def test_a_refusal_says_which_accepted_serializer_is_missing() -> None:
    content = Content(("json", "no-such"))
    with pytest.raises(ContentRefused, match="not installed or not usable: no-such"):
        content.loads(b"?", "application/x-what", "binary")
    assert content.loads(b"1", "application/json", "utf-8") == 1


def test_a_hostile_content_type_is_cut_in_the_message() -> None:
    with pytest.raises(ContentRefused) as caught:
        Content().loads(b"?", "x" * 100_000, "binary")
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("content_type", [["application/json"], {"a": 1}, 5])
def test_a_content_type_that_is_no_text_is_refused(content_type: Any) -> None:
    for accept in (("json",), None):
        with pytest.raises(ContentRefused):
            Content(accept).loads(b"1", content_type, "utf-8")


def test_without_accept_every_trusted_serializer_is_read() -> None:
    content = Content(None)
    assert content.loads(b"[1]", "application/json", "utf-8") == [1]
    assert content.loads(b"[2]", "application/json", "utf-8") == [2]


def test_accept_can_be_given_for_one_call() -> None:
    content = Content(("json",))
    body, content_type, content_encoding = content.dumps((1,), "pickle")
    assert content.loads(body, content_type, content_encoding, accept=["pickle"]) == (1,)
    with pytest.raises(ContentRefused, match="accepted here: pickle"):
        content.loads(b"1", "application/json", "utf-8", accept=["pickle"])
    with pytest.raises(ContentRefused, match="accepted here: json"):
        content.loads(body, content_type, content_encoding)


@pytest.mark.parametrize("value", ["text ü", b"\x00\xff"])
def test_raw_is_kombus(value: str | bytes) -> None:
    content = Content()
    content_type, content_encoding, body = kombu_dumps(value, "raw")
    assert content.dumps(value, "raw") == (body, content_type, content_encoding)
    assert content.loads(body, content_type, content_encoding) == value


def test_bare_text_and_nameless_content_are_read() -> None:
    content = Content(())
    assert content.loads("ü".encode("latin-1"), "text/plain", "iso-8859-1") == "ü"
    assert content.loads("ü".encode(), "", "") == "ü"
    assert content.loads(b"\xff", "", "binary") == b"\xff"


@pytest.mark.parametrize("encoding", ["rot13", "idna", "../../x", 5, None])
def test_an_encoding_off_the_wire_is_not_looked_up(encoding: Any) -> None:
    content = Content()
    if encoding in (5, None):
        assert content.loads(b"a", "text/plain", encoding) == "a"
    else:
        with pytest.raises(ContentRefused, match="content encoding"):
            content.loads(b"a", "text/plain", encoding)


def test_text_that_is_none_is_a_decode_error() -> None:
    with pytest.raises(DecodeError):
        Content().loads(b"\xff", "text/plain", "utf-8")


def test_raw_writes_text_and_bytes_only() -> None:
    with pytest.raises(EncodeError, match="not a dict"):
        Content().dumps({}, "raw")


def test_the_size_is_checked_before_parsing() -> None:
    content = Content(max_size=10)
    assert content.loads(b"[1,2,3,45]", "application/json", "utf-8") == [1, 2, 3, 45]
    for content_type in ("application/json", "text/plain", "no/such"):
        with pytest.raises(ContentTooLarge) as caught:
            content.loads(b"[" * 11, content_type, "utf-8")
        assert (caught.value.size, caught.value.limit) == (11, 10)


def test_a_missing_serializer_says_how_to_get_it() -> None:
    with pytest.raises(PluginNotFound, match=r"umbel\[no-such\]"):
        Content().dumps(1, "no-such")


def test_accept_is_a_list() -> None:
    with pytest.raises(ConfigurationError, match=r"as in \['json'\]"):
        Content("json")


def test_check_tells_a_wrong_accept_at_once() -> None:
    Content(("json", "application/x-python-serialize", "raw", "text/plain")).check()
    Content(None).check()
    for accept in (("no-such",), ("application/x-no-such",)):
        with pytest.raises(PluginNotFound):
            Content(accept).check()


@pytest.mark.parametrize(
    ("name", "content_type"),
    [
        ("zlib", "application/x-gzip"),
        ("gzip", "application/x-gzip"),
        ("application/x-gzip", "application/x-gzip"),
        ("bzip2", "application/x-bz2"),
        ("bzip", "application/x-bz2"),
    ],
)
def test_compression_by_name_and_by_content_type(name: str, content_type: str) -> None:
    content = Content()
    packed, header = content.compress(b"text " * 100, name)
    assert header == content_type
    assert len(packed) < 200
    assert Content().decompress(packed, header) == b"text " * 100
    assert Content().decompress(packed, name) == b"text " * 100


def test_a_bomb_is_refused() -> None:
    content = Content(max_size=1000)
    with pytest.raises(ContentTooLarge):
        content.decompress(zlib.compress(bytes(1_000_000)), "application/x-gzip")
    with pytest.raises(ContentTooLarge):
        content.decompress(bytes(1001), "application/x-gzip")


@pytest.mark.parametrize("header", ["application/x-no-such", "", "x" * 100_000, 5, ["zlib"], None])
def test_an_unknown_compression_is_refused(header: Any) -> None:
    with pytest.raises(ContentRefused, match="cannot be restored") as caught:
        Content().decompress(b"?", header)
    assert len(str(caught.value)) < 1000


def test_a_missing_compressor_says_how_to_get_it() -> None:
    with pytest.raises(PluginNotFound, match=r"umbel\[no-such\]"):
        Content().compress(b"", "no-such")


@pytest.mark.parametrize("encoding", ["rot13", "utf-16", "x" * 100_000])
def test_a_serializer_is_given_nothing_in_an_encoding_that_is_not_known(encoding: str) -> None:
    with pytest.raises(ContentRefused, match="content encoding") as caught:
        Content().loads(b"[]", "application/json", encoding)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("encoding", ["UTF-8", "us-ascii", "binary", "", None])
def test_what_is_utf_8_under_another_name_is_read(encoding: Any) -> None:
    assert Content().loads(b"[1]", "application/json", encoding) == [1]


def test_json_in_latin_1_is_read_as_such() -> None:
    assert Content().loads('["ü"]'.encode("latin-1"), "application/json", "iso-8859-1") == ["ü"]
