"""Passwords that change, from somebody who is asked for each connection."""

from __future__ import annotations

from typing import Any

import pytest
import redis

from umbel_client_redis import Address, Link
from umbel_kernel.errors import BackendError, ConfigurationError, OperationalError
from umbel_kernel.url import URL


class Changing:
    """Says what it was told last."""

    def __init__(self, *said: str) -> None:
        self.said: tuple[str, ...] = said

    def get_credentials(self) -> tuple[str, ...]:
        if self.said == ("broken",):
            raise ValueError("seecret")
        return self.said


class Fixed(redis.CredentialProvider):
    """One of redis-py's kind."""

    def get_credentials(self) -> tuple[str, str]:
        return "me", "first"


def test_each_connection_asks_anew(redis_server: Any) -> None:
    direct = redis.Redis(port=redis_server.port)
    direct.execute_command("ACL", "SETUSER", "me", "on", ">first", "~*", "&*", "+@all")
    provider = Changing("me", "first")
    url = URL.parse(f"redis://other:wrong@{redis_server.place}")
    link = Link(Address(url, credential_provider=provider), refusal=BackendError)
    assert link.ask("ACL", "WHOAMI", timeout=2) == b"me"
    direct.execute_command("ACL", "SETUSER", "me", "resetpass", ">second")
    provider.said = ("me", "second")
    link.close()
    assert link.ask("ACL", "WHOAMI", timeout=2) == b"me"
    link.close()
    provider.said = ("me", "seecret")
    with pytest.raises(OperationalError, match="check the password of user 'me'") as caught:
        link.connect(2)
    assert "seecret" not in str(caught.value)
    provider.said = ("broken",)
    with pytest.raises(OperationalError, match="the credential provider Changing raises ValueError") as caught:
        link.connect(2)
    assert "seecret" not in str(caught.value)
    direct.config_set("requirepass", "alone")
    provider.said = ("alone",)
    assert link.ask("ACL", "WHOAMI", timeout=2) == b"default"
    link.close()


def test_the_path_of_a_class(redis_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    direct = redis.Redis(port=redis_server.port)
    direct.execute_command("ACL", "SETUSER", "me", "on", ">first", "~*", "&*", "+@all")
    monkeypatch.setattr(redis, "Fixed", Fixed, raising=False)
    for address in (
        Address(URL.parse(f"redis://{redis_server.place}?credential_provider=redis.Fixed")),
        Address(URL.parse(f"redis://{redis_server.place}"), credential_provider="redis:Fixed"),
        Address(URL.parse(f"redis://{redis_server.place}"), credential_provider=Fixed()),
    ):
        link = Link(address, refusal=BackendError)
        assert link.ask("ACL", "WHOAMI", timeout=2) == b"me"
        link.close()


@pytest.mark.parametrize("provider", ["nowhere.Provider", "redis.Nobody", "Provider", "redis.ConnectionPool", 7])
def test_who_is_no_provider_is_named(provider: Any) -> None:
    with pytest.raises(ConfigurationError, match="the credential provider"):
        Address(URL.parse("redis://h"), credential_provider=provider)
