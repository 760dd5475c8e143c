"""Chords: counting the members of a header."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Sequence

import pytest

from umbel_kernel.errors import NotSupported
from umbel_kernel.spi.backend import Backend, BackendCapability, ChordPart
from umbel_testkit.backend.case import BackendCase, MakeBackend
from umbel_testkit.background import together


class ChordSuite(BackendCase):
    """Counting the members of a chord's header."""

    @staticmethod
    def parts(size: int) -> list[ChordPart]:
        """The parts of one new header; bodies hold any bytes."""
        group_id = str(uuid.uuid4())
        return [
            ChordPart(group_id, index, size, str(uuid.uuid4()), "SUCCESS", b"\x00\xff %d" % index, 600.0)
            for index in range(size)
        ]

    @staticmethod
    def bodies(parts: Sequence[ChordPart]) -> list[bytes]:
        """What the completing caller gets."""
        return [part.body for part in parts]

    def test_a_header_of_one(self, writer: Backend) -> None:
        self.need(writer, BackendCapability.CHORDS)
        (part,) = self.parts(1)
        assert writer.chord_part(part) == [part.body]
        assert writer.chord_part(part) is None

    def test_the_last_part_brings_all_in_order(self, writer: Backend) -> None:
        self.need(writer, BackendCapability.CHORDS)
        parts = self.parts(12)
        ended = parts[:]
        random.Random(5).shuffle(ended)
        assert [writer.chord_part(part) for part in ended[:-1]] == [None] * 11
        assert writer.chord_part(ended[-1]) == self.bodies(parts)

    def test_a_part_that_ends_twice_counts_once(self, writer: Backend) -> None:
        self.need(writer, BackendCapability.CHORDS)
        parts = self.parts(3)
        assert [writer.chord_part(part) for part in (parts[0], parts[0], parts[2], parts[0])] == [None] * 4
        assert writer.chord_part(parts[1]) == self.bodies(parts)

    def test_parts_after_the_end_bring_nothing(self, writer: Backend) -> None:
        self.need(writer, BackendCapability.CHORDS)
        parts = self.parts(3)
        assert [writer.chord_part(part) is None for part in parts] == [True, True, False]
        assert [writer.chord_part(part) for part in parts * 2] == [None] * 6

    def test_chords_are_kept_apart(self, writer: Backend) -> None:
        self.need(writer, BackendCapability.CHORDS)
        first, second = self.parts(2), self.parts(2)
        assert writer.chord_part(first[0]) is None
        assert writer.chord_part(second[1]) is None
        assert writer.chord_part(second[0]) == self.bodies(second)
        assert writer.chord_part(first[1]) == self.bodies(first)

    def test_a_large_header(self, writer: Backend) -> None:
        self.need(writer, BackendCapability.CHORDS)
        parts = self.parts(300)
        found = [writer.chord_part(part) for part in parts]
        assert found == [None] * 299 + [self.bodies(parts)]

    @pytest.mark.parametrize("objects", [1, 8], ids=["one backend", "a backend a thread"])
    def test_exactly_one_caller_of_many_threads_completes(self, connect: MakeBackend, objects: int) -> None:
        backends = [connect() for _ in range(objects)]
        self.need(backends[0], BackendCapability.CHORDS)
        for turn in range(5):
            parts = self.parts(16)

            def worker(
                number: int, parts: list[ChordPart] = parts, turn: int = turn
            ) -> Callable[[], list[list[bytes] | None]]:
                backend = backends[number % objects]
                mine = [parts[number], parts[number + 8], parts[(number + 1) % 8], parts[(number + 3) % 16]]
                random.Random(turn * 8 + number).shuffle(mine)
                return lambda: [backend.chord_part(part) for part in mine]

            found = together([worker(number) for number in range(8)], within=self.patience * 2)
            complete = [bodies for answers in found for bodies in answers if bodies is not None]
            assert complete == [self.bodies(parts)], f"{len(complete)} callers were told that the header is complete"

    def test_chords_are_refused_when_not_claimed(self, writer: Backend) -> None:
        if BackendCapability.CHORDS in writer.capabilities:
            pytest.skip(f"{type(writer).__name__} declares CHORDS")
        with pytest.raises(NotSupported):
            writer.chord_part(self.parts(1)[0])
