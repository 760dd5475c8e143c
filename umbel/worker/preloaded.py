"""What tasks need that send others and wait for them.

An app imports it at the first call; a worker before its pool is made, so that processes share it.
"""

from __future__ import annotations

from umbel.app import calls, connections, control, eager, publisher, queues, routes, sender
from umbel.canvas import unlocking

MODULES = (calls, connections, control, eager, publisher, queues, routes, sender, unlocking)
