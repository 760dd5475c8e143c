"""The JSON serializer in the conformance suite."""

from __future__ import annotations

from datetime import date, datetime, time
from decimal import Decimal
from uuid import UUID

from umbel_serializer_json import JsonSerializer
from umbel_testkit.serializer import SerializerConformance


class TestJsonSerializer(SerializerConformance):
    serializer_class = JsonSerializer
    more_values = (datetime(2026, 1, 2, 3), date(2026, 1, 2), time(3, 4), Decimal("1.10"), UUID(int=5), b"\x00\xff")
