"""URLs are read, and their secrets are never shown."""

from __future__ import annotations

import traceback
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from umbel_kernel.errors import ConfigurationError
from umbel_kernel.url import URL, mask

RAW = st.text("abcXYZ019:/?#[]@!$&'()*+,;=%~^| -._\t", max_size=12)
AROUND = "s3cr3t"


def shown(text: str) -> str:
    """All that a person may get to see of a URL, whether it can be read or not."""
    try:
        url = URL.parse(text)
    except ConfigurationError as error:
        return "".join(traceback.format_exception(error))
    return f"{url} {url!r} {url.masked()} {[url]} {url:}"


@given(st.text(min_size=1, max_size=20))
def test_a_quoted_password_is_read_and_never_shown(password: str) -> None:
    password = AROUND + password
    text = f"redis://user:{quote(password, safe='')}@host:6379/0"
    url = URL.parse(text)
    assert (url.password, url.username, url.host, url.port, url.path) == (password, "user", "host", 6379, "/0")
    assert url.raw == text
    assert AROUND not in shown(text)
    assert AROUND not in mask(f"cannot connect to {text}: refused")


@given(
    RAW, st.sampled_from(["", "user", "us/er"]), st.sampled_from(["redis://", "amqp://", "kombu+sqs://", "", "1x://"])
)
@example("/", "", "redis://")
@example("#", "user", "redis://")
@example("?", "user", "redis://")
@example("://", "user", "redis://")
def test_a_password_that_was_not_quoted_is_never_shown(middle: str, user: str, scheme: str) -> None:
    assert AROUND not in shown(f"{scheme}{user}:{AROUND}{middle}{AROUND}@host:6379/0")


@pytest.mark.parametrize("name", ["password", "ssl_password", "auth_token", "secret", "api_key", "credentials", "PASS"])
def test_secrets_in_the_query_are_not_shown(name: str) -> None:
    url = URL.parse(f"rediss://host/0?db=1&{name}=s3cr3t&timeout=5")
    assert url.query == {"db": "1", name: "s3cr3t", "timeout": "5"}
    assert str(url) == f"rediss://host/0?db=1&{name}=**&timeout=5"
    assert AROUND not in shown(f"rediss://host:bad/0?{name}=s3cr3t")
    assert mask(f"GET https://host/?x=1&{name}=s3cr3t failed") == f"GET https://host/?x=1&{name}=** failed"


@pytest.mark.parametrize(
    ("text", "scheme", "host", "port", "path", "masked"),
    [
        ("redis://localhost:6379/1", "redis", "localhost", 6379, "/1", "redis://localhost:6379/1"),
        ("REDIS://Host", "redis", "host", None, "", "redis://host"),
        ("amqp://guest:guest@h:5672//", "amqp", "h", 5672, "//", "amqp://guest:**@h:5672//"),
        ("amqp://guest@h/%2Fv", "amqp", "h", None, "//v", "amqp://guest@h//v"),
        ("redis://:p@[::1]:6379", "redis", "::1", 6379, "", "redis://:**@[::1]:6379"),
        ("sqlite:////var/lib/umbel.db", "sqlite", None, None, "//var/lib/umbel.db", "sqlite:////var/lib/umbel.db"),
        ("kombu+filesystem://", "kombu+filesystem", None, None, "", "kombu+filesystem://"),
        ("memory", "memory", None, None, "", "memory://"),
        (" rpc ", "rpc", None, None, "", "rpc://"),
    ],
)
def test_urls_are_read(text: str, scheme: str, host: str | None, port: int | None, path: str, masked: str) -> None:
    url = URL.parse(text)
    assert (url.scheme, url.host, url.port, url.path) == (scheme, host, port, path)
    assert str(url) == masked
    assert repr(url) == f"URL({masked!r})"


@pytest.mark.parametrize("text", ["", "  ", "local host", "//host", "redis://host:port", "redis://[::1", None, 5])
def test_what_is_no_url_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError):
        URL.parse(text)


def test_masking_leaves_other_text_alone() -> None:
    said = "Error 111 connecting to 127.0.0.1:6379 at 10:15 by me@here: refused"
    assert mask(said) == said
    assert mask("tried redis://:a@h1 and amqp://u:b@h2:5672") == "tried redis://:**@h1 and amqp://u:**@h2:5672"


def test_urls_that_say_the_same_are_equal() -> None:
    assert URL.parse("redis://h/0") == URL.parse(" REDIS://h/0 ")
    assert URL.parse("redis://:a@h") != URL.parse("redis://:b@h")
