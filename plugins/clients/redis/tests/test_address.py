"""What a URL and the settings beside it make of a connection."""

from __future__ import annotations

import ssl
from typing import Any

import pytest
import redis

from umbel_client_redis import Address
from umbel_kernel.errors import ConfigurationError
from umbel_kernel.url import URL

SAID = {"host": "h", "port": 1, "db": 2, "username": "u", "password": "p"}


def connection(url: str, timeout: float = 5.0, **said: Any) -> Any:
    return Address(URL.parse(url), **said).connection(timeout)


@pytest.mark.parametrize(
    ("url", "said", "found"),
    [
        ("redis://", {}, ("127.0.0.1", 6379, 0, None, None)),
        ("redis://h:1/2", {}, ("h", 1, 2, None, None)),
        ("redis://u:p%40@h", {}, ("h", 6379, 0, "u", "p@")),
        ("redis://", SAID, ("h", 1, 2, "u", "p")),
        ("redis://v:q@i:3/4", SAID, ("i", 3, 4, "v", "q")),
    ],
)
def test_the_url_goes_before_the_settings(url: str, said: dict[str, Any], found: tuple[object, ...]) -> None:
    made = connection(url, **said)
    assert type(made) is redis.Connection
    assert (made.host, made.port, made.db, made.username, made.password) == found


def test_the_database_is_known_before_a_connection() -> None:
    assert Address(URL.parse("redis://h/7")).db == 7


def test_a_unix_socket() -> None:
    made = connection("redis+socket:///tmp/r.sock?virtual_host=3", tls=True)
    assert (type(made), made.path, made.db) == (redis.UnixDomainSocketConnection, "/tmp/r.sock", 3)


@pytest.mark.parametrize("url", ["redis://h/tasks", "redis+socket:///tmp/r.sock?virtual_host=tasks"])
def test_a_database_is_a_number(url: str) -> None:
    with pytest.raises(ConfigurationError, match="names database 'tasks'; in Redis it is a number"):
        Address(URL.parse(url))


def test_connecting_keeps_to_the_shorter_limit() -> None:
    assert connection("redis://", 5.0, connect_limit=2.0).socket_connect_timeout == 2.0
    assert connection("redis://", 1.0, connect_limit=2.0).socket_connect_timeout == 1.0
    assert connection("redis://", 1.0).socket_timeout == 1.0


def test_what_connections_are_told() -> None:
    made = connection("redis://", client_name="me", keepalive=False, keepalive_options={4: 60})
    assert (made.client_name, made.socket_keepalive, made.socket_keepalive_options) == ("me", False, {4: 60})
    assert connection("redis://").socket_keepalive is True


@pytest.mark.parametrize(
    ("url", "tls", "checked", "name"),
    [
        ("rediss://h", None, ssl.CERT_REQUIRED, True),
        ("redis://h", True, ssl.CERT_REQUIRED, True),
        ("redis://h", {"ssl_cert_reqs": ssl.CERT_OPTIONAL}, ssl.CERT_OPTIONAL, True),
        ("rediss://h?ssl_cert_reqs=none", None, ssl.CERT_NONE, False),
        ("rediss://h?ssl_cert_reqs=CERT_NONE", {"ssl_cert_reqs": "required"}, ssl.CERT_NONE, False),
    ],
)
def test_tls_checks_certificates_unless_told_not_to(url: str, tls: object, checked: int, name: bool) -> None:
    made = connection(url, tls=tls)
    assert (type(made), made.cert_reqs, made.check_hostname) == (redis.SSLConnection, checked, name)


def test_an_unknown_check_is_named() -> None:
    with pytest.raises(ConfigurationError, match="ssl_cert_reqs is 'maybe'"):
        Address(URL.parse("rediss://h?ssl_cert_reqs=maybe"))
