"""Messages that RabbitMQ would end the connection for: they are refused before, and those on their way arrive."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from umbel_broker_amqp import AmqpBroker
from umbel_kernel.errors import EncodeError
from umbel_kernel.spi.message import Form, Message
from umbel_kernel.spi.topology import Queue
from umbel_kernel.url import URL


@pytest.mark.parametrize("form", [None, Form(("x",))])
@pytest.mark.parametrize(
    "value",
    [float("nan"), float("inf"), [-float("inf")], {"y": float("nan")}, 2**63, "x" * 131_072, ["x" * 1000] * 200],
    ids=["nan", "inf", "list", "dict", "integer", "long", "longer"],
)
def test_what_would_end_the_connection_is_refused(amqp_url: str, value: Any, form: Form | None) -> None:
    broker, name = AmqpBroker(URL.parse(amqp_url)), f"test-{uuid.uuid4()}"
    broker.connect(timeout=5)
    broker.declare([Queue(name)])

    def message(header: Any) -> Message:
        return Message(b"body", name, headers={"x": header}, correlation_id="1", form=form)

    try:
        for send in (broker.publish, broker.post):
            for _ in range(5):
                broker.post([message("good")])
            with pytest.raises(EncodeError, match="cannot be sent"):
                send([message(value)])
        broker.publish([message("x" * 100_000)])
        broker.flush()
        assert broker.size([name]) == {name: 11}
    finally:
        broker.delete([name])
        broker.close()
