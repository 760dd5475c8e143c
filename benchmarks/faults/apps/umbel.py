"""umbel, with the settings of Celery's app where they mean something to it, and its own defaults else."""

from __future__ import annotations

from faults import tasks
from faults.apps.place import RESULTS, SETTINGS, SHARED, URL
from umbel import Umbel

app = Umbel("faults", broker=URL, backend=RESULTS or "disabled")
app.conf.update({**SHARED, **SETTINGS})
tasks.define(app)
