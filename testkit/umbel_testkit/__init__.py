"""Conformance suites for umbel plugins: subclass the class of your kind in a test module, and run pytest.

Importing this package asks pytest to rewrite the suites' assertions, so that a failure shows both sides.
"""

from __future__ import annotations

import pytest

SUITES = ("broker", "backend", "pool", "serializer", "compressor", "step")

pytest.register_assert_rewrite(*(f"{__name__}.{suite}" for suite in SUITES))
