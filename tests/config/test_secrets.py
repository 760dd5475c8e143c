"""No secret is shown to people."""

from __future__ import annotations

import string
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as some

from umbel.config.catalogue.all import CATALOGUE
from umbel.config.secrets import HIDDEN, hide, hide_in_text, is_secret
from umbel.config.settings import Settings

SECRETS = some.text(string.ascii_letters + string.digits + string.punctuation + " é", min_size=1, max_size=20).map(
    lambda text: f"S{text}3CR"
)
"""Text that appears nowhere else; the ends make it findable, whatever is in the middle."""


def parts(secret: str) -> set[str]:
    """The ways in which a secret may be seen: as it is, in a repr() and in a URL."""
    return {secret, repr(secret)[1:-1], quote(secret, safe=""), "3CR"}


@given(SECRETS)
@example("S@3CR")
@example("S/a@b?c#d'\"3CR")
@example("Sa;redis://b3CR")
def test_no_secret_comes_out_of_humanize_or_table(secret: str) -> None:
    conf = Settings(environ={"CELERY_RESULT_BACKEND": f"db+postgresql://me:{quote(secret, safe='')}@h/db"})
    conf.update(
        broker_url=[f"redis://:{quote(secret, safe='')}@h1:1/0", f"sentinel://u:{secret}@h2;sentinel://u:{secret}@h3"],
        broker_read_url=f"amqp://u:{secret}@h//",
        broker_password=secret,
        redis_password=secret,
        s3_secret_access_key=secret,
        security_key_password=secret.encode(),
        cassandra_auth_kwargs={"username": "u", "password": secret},
        mongodb_backend_settings={"options": [{"credential": secret, "host": f"mongodb://u:{secret}@h"}]},
        broker_transport_options={"sentinel_kwargs": {"password": secret}, b"url": f"x://:{secret}@h".encode()},
        cache_backend=f"azureblockblob://AccountName=a;AccountKey={quote(secret, safe='')};End=x",
        database_url=f"db+mysql://h/db?user=u&password={quote(secret, safe='')}",
        result_backend_transport_options={f"redis://:{secret}@h": 1},
    )
    for with_defaults in (False, True):
        shown = conf.humanize(with_defaults) + repr(conf.table(with_defaults)) + repr(conf)
        assert not [part for part in parts(secret) if part in shown]
    assert secret in conf.table(censored=False)["redis_password"]


def test_what_is_not_secret_is_shown() -> None:
    conf = Settings(
        {
            "broker_url": "redis://user:pw@host:6379/1?socket_timeout=5",
            "task_default_routing_key": "a.b",
            "result_backend": "redis://host/0",
            "broker_transport_options": {"visibility_timeout": 5, "nested": [1, ("redis://:x@h",)]},
            "worker_concurrency": 4,
        },
        environ={},
    )
    assert conf.humanize().splitlines() == [
        f"broker_transport_options: {{'nested': [1, ('redis://:{HIDDEN}@h',)],",
        " 'visibility_timeout': 5}",
        f"broker_url: redis://user:{HIDDEN}@host:6379/1?socket_timeout=5",
        "result_backend: redis://host/0",
        "task_default_routing_key: a.b",
        "worker_concurrency: 4",
    ]
    assert conf.humanize(censored=False).count("pw@host") == 1


def test_a_name_that_nobody_declared_is_hidden_whole() -> None:
    conf = Settings({"memory_thing": "hunter2"}, environ={})
    assert conf.table() == {"memory_thing": HIDDEN}


def test_settings_that_are_secret_by_name() -> None:
    assert {name for name in CATALOGUE if is_secret(name)} == {
        "broker_password",
        "cassandra_auth_kwargs",
        "cassandra_auth_provider",
        "redis_backend_credential_provider",
        "redis_password",
        "s3_access_key_id",
        "s3_secret_access_key",
        "security_key",
        "security_key_password",
    }


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("redis://h:1/0", "redis://h:1/0"),
        ("amqp://user@h//", "amqp://user@h//"),
        ("redis://:a@h1;redis://:b@h2", f"redis://:{HIDDEN}@h1;redis://:{HIDDEN}@h2"),
        ("redis://h?password=x&db=1", f"redis://h?password={HIDDEN}&db=1"),
        ("host=h password='a b' port=1", f"host=h password={HIDDEN} port=1"),
        ("%(asctime)s: %(message)s", "%(asctime)s: %(message)s"),
    ],
)
def test_texts(text: str, shown: str) -> None:
    assert hide_in_text(text) == shown


def test_nothing_to_hide_is_left_alone() -> None:
    assert hide("redis_password", None) is None
    assert hide("redis_password", "") == ""
    assert hide("redis_password", "x") == HIDDEN
