"""The contender's app, by the environment: `from faults.programs.app import app`."""

from __future__ import annotations

import importlib
from typing import Any

from faults.apps.place import CONTENDER

app: Any = importlib.import_module(f"faults.apps.{CONTENDER}").app
