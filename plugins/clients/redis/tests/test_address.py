"""What a URL and the settings beside it make of a connection."""

from __future__ import annotations

import re
import ssl
from typing import Any

import pytest

from umbel_client_redis import Address
from umbel_client_redis.connection import Connection
from umbel_client_redis.encrypted import EncryptedConnection
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
    assert type(made) is Connection
    assert (made.host, made.port, made.db, made.username, made.password) == found


def test_the_database_is_known_before_a_connection() -> None:
    assert Address(URL.parse("redis://h/7")).db == 7


def test_a_unix_socket() -> None:
    made = connection("redis+socket:///tmp/r.sock?virtual_host=3", tls=True)
    assert (type(made), made.path, made.db) == (Connection, "/tmp/r.sock", 3)


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
    assert type(made) is EncryptedConnection
    assert (made.tls["ssl_cert_reqs"], made.tls["ssl_check_hostname"]) == (checked, name)


def test_an_unknown_check_is_named() -> None:
    with pytest.raises(ConfigurationError, match="ssl_cert_reqs is 'maybe'"):
        Address(URL.parse("rediss://h?ssl_cert_reqs=maybe"))


@pytest.mark.parametrize(
    ("url", "db"),
    [
        ("redis://h?virtual_host=3", 3),
        ("redis://h?db=3", 3),
        ("redis://h/3?db=3", 3),
        ("redis+socket:///r.sock?db=3", 3),
        ("redis+unix:///r.sock?virtual_host=3", 3),
        ("redis+socket:///r.sock", 0),
    ],
)
def test_the_query_may_name_the_database(url: str, db: int) -> None:
    assert Address(URL.parse(url)).db == db


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis://h/1?db=2", "names several databases: 1, 2"),
        ("redis://h?ssl=true", "unknown option 'ssl'"),
        ("redis://me:seecret@h?tls=1", "unknown option 'tls'"),
        ("redis://h/-1", "in Redis it is a number"),
        ("redis+socket://h/r.sock", "needs three slashes"),
        ("rediss+socket:///r.sock", "Redis is reached by redis://"),
        ("redis+sentinel://h", "Redis is reached by redis://"),
        ("sentinel://h", "Redis is reached by redis://"),
        ("redis://h?socket_keepalive=maybe", "socket_keepalive is 'maybe'; it has to be true or false"),
        ("rediss://h?ssl_check_hostname=maybe", "ssl_check_hostname is 'maybe'; it has to be true or false"),
        ("rediss://h?ssl_min_version=3", "ssl_min_version is '3'; it has to be TLSv1_2 or TLSv1_3"),
        ("rediss://h?ssl_certfiles=x", "did you mean 'ssl_certfile'"),
    ],
)
def test_what_cannot_be_meant_is_said(url: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(said)) as caught:
        Address(URL.parse(url))
    assert "seecret" not in str(caught.value)


@pytest.mark.parametrize("option", ["certfile", "cert_reqs", "ssl_certfil", "nonsense"])
def test_an_unknown_tls_option_is_named(option: str) -> None:
    with pytest.raises(ConfigurationError, match=f"'{option}' is no TLS option of Redis"):
        Address(URL.parse("rediss://h"), tls={option: "x"})


def test_options_that_celery_lets_stand_in_a_url_may_stand_there() -> None:
    made = connection("redis://h?max_connections=9&retry_on_timeout=true&socket_timeout=3&client_name=me")
    assert made.client_name == "me"
    assert connection("redis://h?socket_connect_timeout=0.5").socket_connect_timeout == 0.5
    assert connection("redis://h?socket_keepalive=false").socket_keepalive is False


def test_a_tls_option_in_the_query_asks_for_tls() -> None:
    assert Address(URL.parse("redis://h?ssl_cert_reqs=none")).encrypted
    assert not Address(URL.parse("redis://h"), tls={}).encrypted
    assert not Address(URL.parse("redis://h"), tls=False).encrypted
