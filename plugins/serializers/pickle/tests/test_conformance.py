"""The pickle serializer in the conformance suite."""

from __future__ import annotations

from datetime import timedelta

from umbel_serializer_pickle import PickleSerializer
from umbel_testkit.serializer import SerializerConformance


class TestPickleSerializer(SerializerConformance):
    serializer_class = PickleSerializer
    more_values = ((1, 2), {3, 4}, timedelta(hours=1), b"\x00\xff")
