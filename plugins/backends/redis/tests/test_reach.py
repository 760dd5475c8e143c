"""TLS, sockets, users, prefixes and sentinels: results are where Celery looks for them, or it is said why not."""

from __future__ import annotations

import json
import re
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import Celery

from umbel import Umbel
from umbel_backend_redis import RedisBackend, SentinelBackend
from umbel_kernel.errors import BackendError, ConfigurationError, OperationalError
from umbel_kernel.spi.backend import CHORD_CLAIM, ChordPart, Record
from umbel_kernel.url import URL
from umbel_testkit.backend import BackendConformance, json_state_of

README = Path(__file__).parent.parent / "README.md"
RULE = " ".join(re.search(r"^ACL SETUSER results (.*?)^```", README.read_text(), re.M | re.S)[1].split())
COMMANDS = [word[1:] for word in RULE.split() if word.startswith("+")]
SECRET = "seecret"
count = BackendConformance.count


def backend(url: str, **options: Any) -> RedisBackend:
    return RedisBackend(URL.parse(url), options, state_of=json_state_of)


def success(task_id: str) -> Record:
    return Record(task_id, "SUCCESS", json.dumps({"task_id": task_id, "status": "SUCCESS", "result": 1}).encode())


def round_trip(found: RedisBackend) -> None:
    """Wait in one thread for what another one stores."""
    task_id = str(uuid.uuid4())
    later = threading.Timer(0.1, lambda: found.store([success(task_id)]))
    later.start()
    assert found.wait([task_id], timeout=5)[task_id].state == "SUCCESS"
    later.join()
    found.forget([task_id])
    found.close()


def refusal(found: RedisBackend) -> str:
    with pytest.raises(OperationalError) as caught:
        found.connect(timeout=3)
    found.close()
    return str(caught.value)


@pytest.fixture
def tls(start_redis: Callable[..., Any], certificates: Any) -> Any:
    """A server that speaks TLS alone and asks for a certificate."""
    own = ("--tls-cert-file", certificates.server, "--tls-key-file", certificates.server_key)
    return start_redis(*own, "--tls-ca-cert-file", certificates.authority, "--tls-auth-clients", "yes", tls=True)


def test_tls(tls: Any, certificates: Any) -> None:
    options = {
        "ssl_ca_certs": certificates.authority,
        "ssl_certfile": certificates.client,
        "ssl_keyfile": certificates.client_key,
    }
    query = "&".join(f"{name}={value}" for name, value in options.items())
    for checks in ("CERT_REQUIRED", "required"):
        use = {"ssl_cert_reqs": checks, **options}
        round_trip(backend(f"redis://{tls.place}", redis_backend_use_ssl=use))
    round_trip(backend(f"rediss://localhost:{tls.port}/3?ssl_cert_reqs=CERT_REQUIRED&{query}"))
    assert "ssl_certfile" in refusal(backend(f"rediss://{tls.place}?ssl_ca_certs={certificates.authority}"))
    assert "is not trusted here" in refusal(backend(f"rediss://{tls.place}?ssl_ca_certs={certificates.stranger}"))
    assert "is it without TLS (rediss://)?" in refusal(backend(f"redis://{tls.place}"))


def test_the_url_of_tls_is_celerys(tls: Any, certificates: Any) -> None:
    query = f"ssl_cert_reqs=required&ssl_ca_certs={certificates.authority}"
    query += f"&ssl_certfile={certificates.client}&ssl_keyfile={certificates.client_key}"
    url = f"rediss://{tls.place}/2?{query}"
    app, found = Celery("probe", broker="memory://", backend=url), backend(url)
    found.store([success("a")])
    assert app.AsyncResult("a").get(timeout=5) == 1
    app.backend.store_result("b", 5, "SUCCESS")
    assert json.loads(found.wait(["b"], timeout=5)["b"].body)["result"] == 5
    found.close()


def test_a_unix_socket(start_redis: Callable[..., Any]) -> None:
    server = start_redis("--requirepass", "p@ss")
    round_trip(backend(f"redis+socket://{server.socket}?virtual_host=3", redis_password="p@ss"))
    round_trip(backend(f"redis+socket://:p%40ss@{server.socket}"))
    url = f"redis+socket://:p%40ss@{server.socket}?virtual_host=3"
    found = backend(url)
    found.store([success("a")])
    assert Celery("probe", broker="memory://", backend=url).AsyncResult("a").get(timeout=5) == 1
    found.close()


def test_a_user(redis_server: Any) -> None:
    direct = redis.Redis(port=redis_server.port)
    direct.execute_command("ACL", "SETUSER", "me", "on", f">{SECRET}", "~*", "&*", "+@all")
    round_trip(backend(f"redis://me:{SECRET}@{redis_server.place}"))
    round_trip(backend(redis_server.url, redis_username="me", redis_password=SECRET))
    round_trip(backend("redis://", redis_host="127.0.0.1", redis_port=redis_server.port, redis_db=4))
    said = refusal(backend(f"redis://me:{SECRET}x@{redis_server.place}"))
    assert "check the password of user 'me'" in said and SECRET not in said


@pytest.mark.parametrize("given", ["team-a:", "team_a"])
def test_a_prefix_is_before_every_key_and_channel(redis_server: Any, given: str) -> None:
    direct = redis.Redis(port=redis_server.port)
    heard = direct.pubsub()
    heard.psubscribe("*")
    options = {"global_keyprefix": given}
    app = Celery("probe", broker="memory://", backend=redis_server.url)
    app.conf.result_backend_transport_options = options
    found = backend(redis_server.url, **options)
    later = threading.Timer(0.2, lambda: app.backend.store_result("b", 5, "SUCCESS"))
    later.start()
    assert json.loads(found.wait(["b"], timeout=5)["b"].body)["result"] == 5
    result = app.AsyncResult("a")
    later = threading.Timer(0.2, lambda: found.store([success("a")]))
    later.start()
    assert result.get(timeout=5) == 1
    found.store_group("g", b"{}", expires=60)
    found.begin_chord("g", 2, expires=60)
    assert count(found, ChordPart("g", 0, 2, "a", "SUCCESS", b"1")) is None
    everything = direct.keys("*")
    assert len(everything) >= 5
    assert [key for key in everything if not key.startswith(given.encode())] == []
    assert count(found, ChordPart("g", 1, 2, "b", "SUCCESS", b"2")) == [b"1", b"2"]
    found.close()
    channels = {m["channel"] for m in iter(lambda: heard.get_message(timeout=0.2), None) if m["type"] == "pmessage"}
    assert channels and [channel for channel in channels if not channel.startswith(given.encode())] == []


def limited(server: Any, changes: str = "") -> RedisBackend:
    """A backend as the user of the rule, with changes to it."""
    rule = RULE.replace(">password", f">{SECRET}").split()
    redis.Redis(port=server.port).execute_command("ACL", "SETUSER", "results", "reset", *rule, *changes.split())
    return backend(f"redis://results:{SECRET}@{server.place}", global_keyprefix="myapp.")


def exercise(found: RedisBackend) -> None:
    """All that a backend can do."""
    task_id = str(uuid.uuid4())
    later = threading.Timer(0.1, lambda: found.store([success(task_id)]))
    later.start()
    found.wait([task_id], timeout=5)
    found.wait([task_id], timeout=5)
    assert found.fetch([task_id, "b"]).keys() == {task_id}
    found.forget([task_id])
    found.store_group("g", b"{}", expires=60)
    assert found.fetch_group("g") == b"{}"
    found.begin_chord("g", 2, expires=60)
    count(found, ChordPart("g", 0, 2, "a", "FAILURE", b"failed"))
    count(found, ChordPart("g", 0, 2, "a", "SUCCESS", b"1"))
    assert found.chord_add("g", 2, "added", expires=60) == 2
    count(found, ChordPart("g", 2, 2, "c", "SUCCESS", b"3"))
    assert count(found, ChordPart("g", 1, 2, "b", "SUCCESS", b"2")) == [b"1", b"2", b"3"]
    assert found.chord_end("g", "run", expires=60)
    found.forget_group("g")


def test_the_rule_is_enough_and_nothing_in_it_is_idle(redis_server: Any) -> None:
    found = limited(redis_server)
    exercise(found)
    found._ordered = 0
    assert count(found, ChordPart("listed", 0, 1, "a", "SUCCESS", b"1")) == [b"1"]
    found.close()
    direct = redis.Redis(port=redis_server.port)
    used = {name.removeprefix("cmdstat_") for name in direct.info("commandstats")}
    assert set(COMMANDS) - used == set()
    assert {entry["object"] for entry in direct.acl_log()} <= {"client|setinfo"}, "a library's name for itself"


@pytest.mark.parametrize(
    ("change", "missing"),
    [
        ("-set", r"the user 'results' lacks the permission \+set"),
        ("-publish", r"the user 'results' lacks the permission \+publish"),
        ("-evalsha", r"the user 'results' lacks the permission \+evalsha"),
        ("resetkeys ~other*", r"lacks the permission \(~\) for one of the keys of EVALSHA: 'myapp.celery-task-meta-a'"),
        ("resetchannels", r"lacks the permission \(&\) for one of the channels of PUBLISH"),
    ],
)
def test_storing_says_which_permission_is_missing(redis_server: Any, change: str, missing: str) -> None:
    found = limited(redis_server, change)
    with pytest.raises(BackendError, match=missing) as caught:
        found.store([success("a")])
    assert SECRET not in str(caught.value)
    limited(redis_server).close()  # mended
    found.store([success("b")])
    assert found.fetch(["b"])["b"].state == "SUCCESS"
    found.close()


@pytest.mark.parametrize(
    ("change", "missing"),
    [
        ("-subscribe", r"\+subscribe"),
        ("resetchannels", r"\(&\) for one of the channels of SUBSCRIBE"),
        ("-mget", r"\+mget"),
    ],
)
def test_waiting_says_which_permission_is_missing(redis_server: Any, change: str, missing: str) -> None:
    found = limited(redis_server, change)
    with pytest.raises(BackendError, match=missing):
        found.wait(["a"], timeout=2)
    found.close()


@pytest.mark.parametrize("possible", [True, False])
def test_waiting_asks_on_the_connection_that_listens_where_that_is_possible(redis_server: Any, possible: bool) -> None:
    found = limited(redis_server)
    found._subscriber._may_ask = possible
    timer = threading.Timer(0.3, found.store, [[success("a")]])
    timer.start()
    assert found.wait(["a"], timeout=10)["a"].state == "SUCCESS"
    assert found.wait(["a", "b"], timeout=10)["a"].state == "SUCCESS"
    assert found.wait(["b"], timeout=0.1) == {}
    assert found._subscriber._asks == possible
    timer.join()
    found.close()


def test_a_store_that_is_full_is_tried_again(redis_server: Any) -> None:
    direct = redis.Redis(port=redis_server.port)
    found = backend(redis_server.url)
    found.connect(timeout=2)
    direct.config_set("maxmemory", 1)
    with pytest.raises(OperationalError, match="its memory is full"):
        found.store([success("a")])
    direct.config_set("maxmemory", 0)
    found.store([success("a")])
    assert found.fetch(["a"])["a"].state == "SUCCESS"
    found.close()


def test_an_idle_connection_that_the_server_drops_is_no_trouble(start_redis: Callable[..., Any]) -> None:
    server = start_redis("--timeout", "1")
    found = backend(server.url)
    for _ in range(2):
        found.store([success("a")])
        assert found.wait(["a"], timeout=5)["a"].state == "SUCCESS"
        time.sleep(2.2)
    found.close()


def sentinel_app(url: str, **options: Any) -> Umbel:
    app = Umbel("sentinels", broker="memory://", backend=url, set_as_current=False)
    app.conf.result_backend_transport_options = {"master_name": "mymaster", **options}
    return app


def test_results_outlive_their_master(start_sentinels: Callable[..., Any]) -> None:
    group = start_sentinels(password=SECRET)
    options = {"sentinel_kwargs": {"password": f"sentinel-{SECRET}"}, "global_keyprefix": "p_"}
    app = sentinel_app(group.url, **options)
    found = app.connections.backend()
    assert type(found) is SentinelBackend
    assert all(each.place in app.backend_text() for each in group.sentinels) and SECRET not in app.backend_text()
    theirs = Celery("probe", broker="memory://", backend=group.url)
    theirs.conf.result_backend_transport_options = {"master_name": "mymaster", **options}
    found.store([success("a")])
    assert theirs.AsyncResult("a").get(timeout=5) == 1
    dead = group.master()
    heir = next(each for each in group.servers if each is not dead)
    group.wait(lambda: group.ask(heir, "exists", "p_celery-task-meta-a").strip() == "1", "it was not replicated")

    def fail_over() -> None:
        dead.stop()
        end = time.monotonic() + 20
        while time.monotonic() < end:
            try:
                found.store([success("b")], timeout=1)
                return
            except OperationalError:
                time.sleep(0.1)

    later = threading.Timer(0.2, fail_over)
    later.start()
    assert found.wait(["b"], timeout=20)["b"].state == "SUCCESS"
    later.join()
    assert found.fetch(["a"])["a"].state == "SUCCESS"
    app.close()


def test_several_urls_of_another_store_are_refused() -> None:
    app = sentinel_app("redis://me:seecret@127.0.0.1:1;redis://127.0.0.1:2")
    with pytest.raises(ConfigurationError, match=r"names 2 URLs, .*; the backend 'redis' takes one") as caught:
        app.connections.backend()
    assert "seecret" not in str(caught.value)


@pytest.mark.slow
class TestPermitted(BackendConformance):
    """The whole contract as the user of the rule, under a prefix."""

    @pytest.fixture
    def make_backend(self, redis_server: Any) -> Any:
        limited(redis_server).close()
        url = URL.parse(f"redis://results:{SECRET}@{redis_server.place}")
        return lambda **options: RedisBackend(url, {"global_keyprefix": "myapp.", **options}, state_of=json_state_of)

    @pytest.fixture
    def make_unreachable(self) -> Any:
        return lambda: RedisBackend(URL.parse("redis://user:seecret@127.0.0.1:1/0"), state_of=json_state_of)


@pytest.mark.slow
class TestSentinels(BackendConformance):
    """The whole contract behind sentinels, over TLS."""

    @pytest.fixture
    def make_backend(self, start_sentinels: Callable[..., Any], certificates: Any) -> Any:
        url = URL.parse(start_sentinels(certificates=certificates).url.split(";")[0])
        trusted = {"ssl_ca_certs": certificates.authority}
        said = {
            "master_name": "mymaster",
            "redis_backend_use_ssl": trusted,
            "sentinel_kwargs": {"ssl": True, **trusted},
        }
        return lambda **options: SentinelBackend(url, {**said, **options}, state_of=json_state_of)

    @pytest.fixture
    def make_unreachable(self) -> Any:
        url = URL.parse("sentinel://user:seecret@127.0.0.1:1/0")
        return lambda: SentinelBackend(url, {"master_name": "mymaster"}, state_of=json_state_of)


def test_who_completed_a_chord_has_it_alone_for_a_while_and_leaves_only_marks(redis_server: Any) -> None:
    found, direct = backend(redis_server.url), redis.Redis(port=redis_server.port)
    found.begin_chord("g", 2, expires=60)
    first, last = (ChordPart("g", index, 2, str(index), "SUCCESS", b"%d" % index, 60) for index in range(2))
    assert (count(found, first), count(found, last)) == (None, [b"0", b"1"])
    claim = "celery-taskset-meta-g.c"
    assert CHORD_CLAIM - 5 < direct.pttl(claim) / 1000 <= CHORD_CLAIM
    assert count(found, first) is None
    direct.delete(claim)
    assert count(found, first) == [b"0", b"1"]
    assert found.chord_end("g", first.run, expires=60)
    assert sorted(direct.keys("*")) == [b"celery-taskset-meta-g.c", b"celery-taskset-meta-g.e"]
    assert direct.get(claim) == b"done", "what tells workers of Celery that it is over"
    assert [0 < direct.pttl(key) <= 60_000 for key in direct.keys("*")] == [True, True]
    found.close()


def test_parts_are_a_list_where_celery_is_told_so(redis_server: Any) -> None:
    found = backend(redis_server.url, result_chord_ordered=False)
    for index in (2, 0, 0):
        assert count(found, ChordPart("g", index, 3, str(index), "SUCCESS", b"%d" % index, 60)) is None
    assert count(found, ChordPart("g", 1, 3, "1", "SUCCESS", b"1", 60)) == [b"2", b"0", b"1"]
    found.close()
