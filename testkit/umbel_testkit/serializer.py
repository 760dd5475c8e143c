"""The conformance suite for serializers.

class TestMySerializer(SerializerConformance):
    serializer_class = MySerializer
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from typing import Any, ClassVar

import pytest

from umbel_kernel.errors import DecodeError, EncodeError
from umbel_kernel.spi.serializer import Serializer
from umbel_testkit.background import together

VALUES: dict[str, Any] = {
    "none": None,
    "true": True,
    "false": False,
    "zero": 0,
    "negative": -1,
    "63 bits": 2**63 - 1,
    "float": 3.141592653589793,
    "tiny float": 5e-324,
    "empty text": "",
    "unicode": "příliš žluťoučký kůň 🐎 \u2028 \x00",
    "quotes": "\"'\\\n\t",
    "empty list": [],
    "empty dict": {},
    "task": [[1, "two", None], {"key": 3.5}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}],
    "wide": list(range(5000)),
    "long text": "x" * 300_000,
    "deep": {"a": [{"b": [{"c": [[[[1]]]]}]}]},
}


class SerializerConformance:
    """Everything that ``umbel_kernel.spi.serializer`` promises.

    Attributes:
        serializer_class: the class to check; it is made without arguments.
        more_values: values beyond plain data that this serializer carries, such as dates.
        garbage: bytes that are not this format.
        nested: builds bytes that nest so deep, when the format is text with brackets; None where there is no such.
        depth: how deep a stranger's bytes nest in the test.
    """

    serializer_class: ClassVar[type[Serializer]]
    more_values: ClassVar[tuple[Any, ...]] = ()
    garbage: ClassVar[tuple[bytes, ...]] = (b"", b"\xff\xfe\x00 not this format", b"{[", b"]")
    nested: ClassVar[Callable[[int], bytes] | None] = None
    depth: ClassVar[int] = 100_000

    @pytest.fixture
    def serializer(self) -> Serializer:
        """One serializer."""
        return self.serializer_class()

    def test_it_says_what_it_is(self, serializer: Serializer) -> None:
        assert serializer.name and serializer.name == serializer.name.lower()
        assert serializer.content_type.count("/") == 1
        assert serializer.content_encoding in ("utf-8", "binary")
        assert type(serializer.trusted) is bool

    @pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
    def test_plain_data_comes_back(self, serializer: Serializer, value: Any) -> None:
        data = serializer.dumps(value)
        assert type(data) is bytes
        found = serializer.loads(data)
        assert found == value
        assert type(found) is type(value)

    def test_more_values_come_back(self, serializer: Serializer) -> None:
        for value in self.more_values:
            found = serializer.loads(serializer.dumps({"value": value}))["value"]
            assert (found, type(found)) == (value, type(value))

    def test_random_data_comes_back(self, serializer: Serializer) -> None:
        chance = random.Random(20)
        for _ in range(300):
            value = _random_value(chance, 4)
            assert serializer.loads(serializer.dumps(value)) == value

    def test_the_value_is_left_alone(self, serializer: Serializer) -> None:
        value = {"list": [1, {"two": (3, 4)}]}
        serializer.dumps(value)
        assert value == {"list": [1, {"two": (3, 4)}]}

    def test_text_is_utf_8(self, serializer: Serializer) -> None:
        if serializer.content_encoding != "utf-8":
            pytest.skip(f"{serializer.name} is binary")
        serializer.dumps(["kůň 🐎"]).decode("utf-8")

    @pytest.mark.parametrize("wrap", [lambda value: value, lambda value: {"a": [1, value]}], ids=["bare", "inside"])
    def test_what_cannot_be_written_is_named(self, serializer: Serializer, wrap: Callable[[Any], Any]) -> None:
        with pytest.raises(EncodeError) as caught:
            serializer.dumps(wrap(threading.Lock()))
        assert "lock" in str(caught.value), "the message has to name the type"

    def test_a_circle_does_no_harm(self, serializer: Serializer) -> None:
        circle: list[Any] = [1]
        circle.append(circle)
        try:
            found = serializer.loads(serializer.dumps(circle))
        except EncodeError:
            return
        assert found[1] is found

    def test_a_value_too_deep_does_no_harm(self, serializer: Serializer) -> None:
        value: list[Any] = []
        for _ in range(self.depth):
            value = [value]
        try:
            assert type(serializer.dumps(value)) is bytes
        except EncodeError as error:
            assert str(error)

    def test_garbage_is_refused(self, serializer: Serializer) -> None:
        for data in self.garbage:
            with pytest.raises(DecodeError):
                serializer.loads(data)

    def test_what_is_cut_short_is_refused(self, serializer: Serializer) -> None:
        data = serializer.dumps([[1, 2, 3], {"key": "value" * 20}, [None, True]])
        for end in (1, len(data) // 3, len(data) // 2, len(data) - 1):
            with pytest.raises(DecodeError):
                serializer.loads(data[:end])

    def test_bytes_too_deep_are_refused(self, serializer: Serializer) -> None:
        build = type(self).nested
        if build is None and serializer.content_type.endswith("json"):
            build = _brackets
        if build is None:
            pytest.skip("nested is not given: this format has no brackets to nest")
        with pytest.raises(DecodeError):
            serializer.loads(build(self.depth))

    def test_it_may_be_used_from_several_threads(self, serializer: Serializer) -> None:
        def work() -> bool:
            return all(
                serializer.loads(serializer.dumps([number, {"n": str(number)}])) == [number, {"n": str(number)}]
                for number in range(300)
            )

        assert together([work for _ in range(4)], within=30) == [True] * 4


def _brackets(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


def _random_value(chance: random.Random, depth: int) -> Any:
    kind = chance.randrange(7 if depth else 5)
    if kind == 0:
        return chance.choice([None, True, False])
    if kind == 1:
        return chance.randrange(-(2**53), 2**53)
    if kind == 2:
        return chance.uniform(-1e9, 1e9)
    if kind in (3, 4):
        return "".join(chr(chance.choice([65, 97, 0x10D, 0x4E2D, 0x1F40E, 10, 34])) for _ in range(chance.randrange(9)))
    if kind == 5:
        return [_random_value(chance, depth - 1) for _ in range(chance.randrange(5))]
    return {f"key{number}": _random_value(chance, depth - 1) for number in range(chance.randrange(5))}
