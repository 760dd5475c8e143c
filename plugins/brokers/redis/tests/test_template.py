"""Messages of one form: written from a template, they are the bytes that each would be written to alone."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from umbel_broker_redis import RedisBroker
from umbel_broker_redis.envelope import load, pack, unpack
from umbel_broker_redis.template import Template
from umbel_kernel.errors import PublishError
from umbel_kernel.spi.message import Form, Message
from umbel_kernel.spi.topology import Binding, Exchange, Queue
from umbel_kernel.url import URL

FORM = Form(("id", "args", "more"))


def message(queue: str, **changes: Any) -> Message:
    headers = {"lang": "py", "id": "one", "none": None, "limits": [None, 3.5], "args": "()", "more": None, "é%s": "{%"}
    headers |= changes.pop("headers", {})
    members: dict[str, Any] = {
        "body": b'[[], {}, {"chord": null}]',
        "correlation_id": "one",
        "reply_to": "me",
        "form": FORM,
        **changes,
    }
    return Message(routing_key=queue, headers=headers, **members)


OTHERS: list[dict[str, Any]] = [
    {},
    {"body": b""},
    {"body": bytes(range(256)) * 50},
    {"correlation_id": None},
    {"correlation_id": 'a "quoted" \\ one, \n and ünïcode \ud800'},
    {"headers": {"id": 'x", "id": "y', "args": "(%s, '\\u1234', \x00)"}},
    {"headers": {"more": {"deep": [1, 2.5, True, None, b"\xff", "é"]}, "id": 5, "args": b"bytes"}},
    {"delay": 5.0},
]


@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("common", [{}, {"priority": 7, "expiration": 2.5, "delivery_mode": 1}, {"exchange": "e"}])
def test_a_template_writes_what_pack_writes(common: dict[str, Any], other: dict[str, Any]) -> None:
    template = Template(message("q", **common), "q")
    wanted = message("q", **{**common, **other})
    assert template.envelope(wanted, "tag-1") == pack(wanted, wanted.exchange, "tag-1")


def test_messages_of_one_template_share_no_more_than_they_have_in_common() -> None:
    body = b"common"
    template = Template(message("q"), "q")
    for wanted in (
        message("q", body=body, correlation_id="one", headers={"id": "one", "args": "(1,)", "more": 1}),
        message("q", body=body, correlation_id="two", headers={"id": "other", "args": "two", "more": 2}),
        message("q", body=b"another", correlation_id=None, headers={"id": None, "args": "", "more": None}),
        message("q", body=b"x" * 5000),
        message("q", body=body),
        message("q", body=b""),
    ):
        assert template.envelope(wanted, "tag") == pack(wanted, wanted.exchange, "tag")


def test_a_template_keeps_nothing_of_the_message_it_was_made_of() -> None:
    first = message("q", body=b"secret", correlation_id="first", headers={"id": "first", "args": "(1,)", "more": 1})
    assert b"first" not in Template(first, "q").envelope(message("q"), "t")


def test_a_header_that_is_no_plain_data_is_refused() -> None:
    with pytest.raises(TypeError):
        Template(message("q"), "q").envelope(message("q", headers={"more": object()}), "t")


@pytest.fixture
def name() -> str:
    return f"template-é-{uuid.uuid4().hex}"


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as found:
        yield found


@pytest.fixture
def broker(redis_url: str, name: str, client: redis.Redis) -> Iterator[RedisBroker]:
    found = RedisBroker(URL.parse(redis_url))
    found.connect(timeout=2)
    yield found
    found.delete([name])
    found.close()


def _ids(client: redis.Redis, name: str) -> list[Any]:
    raws: Any = client.lrange(name, 0, -1)
    return [unpack(raw, name, None).headers["id"] for raw in reversed(raws)]


def test_one_by_one_and_in_bulk_all_arrive_in_order(broker: RedisBroker, name: str, client: redis.Redis) -> None:
    for number in range(5):
        broker.publish([message(name, headers={"id": f"single {number}"})])
    broker.publish([message(name, headers={"id": f"bulk {number}"}) for number in range(1200)])
    assert _ids(client, name) == [f"single {n}" for n in range(5)] + [f"bulk {n}" for n in range(1200)]
    raws: Any = client.lrange(name, 0, -1)
    envelopes = [load(raw) for raw in raws]
    assert len({envelope["properties"]["delivery_tag"] for envelope in envelopes if envelope}) == 1205


def test_forms_do_not_mix(broker: RedisBroker, name: str, client: redis.Redis) -> None:
    other = Form(("id",))
    for number in range(3):
        broker.publish([message(name, headers={"id": f"a{number}", "args": "(1,)"})])
        broker.publish([message(name, form=other, priority=3, headers={"id": f"b{number}", "args": "(2,)"})])
    raws: Any = client.lrange(name + "\x06\x163", 0, -1)
    found = [unpack(raw, name, None) for raw in reversed(raws)]
    assert [delivery.headers["id"] for delivery in found] == ["b0", "b1", "b2"]
    assert {delivery.headers["args"] for delivery in found} == {"(2,)"}
    assert _ids(client, name) == ["a0", "a1", "a2"]


def test_more_forms_than_are_kept(broker: RedisBroker, name: str, client: redis.Redis) -> None:
    forms = [Form(("id",)) for _ in range(600)]
    batch = [message(name, form=form, headers={"id": f"{number}"}) for number, form in enumerate(forms)]
    broker.publish(batch)
    broker.publish(batch)
    assert _ids(client, name) == [str(number) for number in range(600)] * 2


@pytest.mark.parametrize("times", [1, 3])
def test_a_refusal_names_the_message(broker: RedisBroker, name: str, client: redis.Redis, times: int) -> None:
    for _ in range(times):
        broker.publish([message(name)])
    client.delete(name)
    client.set(name, "no list")
    refused = message(name)
    with pytest.raises(PublishError, match="WRONGTYPE") as caught:
        broker.publish([refused])
    assert list(caught.value.failed) == [refused]
    client.delete(name)
    broker.publish([refused])
    assert client.llen(name) == 1


def test_a_queue_that_expires_lives_on_while_it_is_used(broker: RedisBroker, name: str, client: redis.Redis) -> None:
    for _ in range(3):
        broker.publish([message(name)])
    queue = Queue(name, (Binding(Exchange("", "direct"), name),), expires=100.0)
    broker.declare([queue])
    broker.publish([message(name)])
    assert 0 < client.pttl(name) <= 100_000


def test_topic_exchange_routes_messages_of_a_form(broker: RedisBroker, name: str, client: redis.Redis) -> None:
    exchange = Exchange(f"{name}-topic", "topic")
    broker.declare([Queue(name, (Binding(exchange, "a.#"),))])
    for number in range(3):
        broker.publish([message("a.b", exchange=exchange.name, headers={"id": str(number)})])
    assert _ids(client, name) == ["0", "1", "2"]


def test_several_threads_share_a_broker(broker: RedisBroker, name: str, client: redis.Redis) -> None:
    def send(mark: str) -> None:
        for number in range(100):
            broker.publish([message(name, headers={"id": f"{mark}{number}"})])

    threads = [threading.Thread(target=send, args=(mark,)) for mark in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = _ids(client, name)
    assert sorted(found) == sorted(f"{mark}{number}" for mark in "abcd" for number in range(100))
    for mark in "abcd":
        assert [each for each in found if each.startswith(mark)] == [f"{mark}{number}" for number in range(100)]
