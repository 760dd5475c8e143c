"""The conformance suite for result backends.

class TestMyBackend(BackendConformance):
    @pytest.fixture
    def make_backend(self):
        return lambda: MyBackend(URL.parse("my://localhost"), state_of=json_state_of)
"""

from __future__ import annotations

from umbel_testkit.backend.chord import ChordSuite
from umbel_testkit.backend.connection import ConnectionSuite
from umbel_testkit.backend.document import json_state_of
from umbel_testkit.backend.group import GroupSuite
from umbel_testkit.backend.sharing import SharingSuite
from umbel_testkit.backend.storing import StoringSuite
from umbel_testkit.backend.waiting import WaitingSuite

__all__ = ["BackendConformance", "json_state_of"]


class BackendConformance(ConnectionSuite, StoringSuite, WaitingSuite, GroupSuite, ChordSuite, SharingSuite):
    """Everything that ``umbel_kernel.spi.backend`` promises. Subclass it and give the fixture ``make_backend``.

    What else a subclass may set stands in ``umbel_testkit.backend.case.BackendCase``.
    """
