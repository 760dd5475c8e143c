"""What a task queue is made of: states, errors, the request, signals, and the ports between floors."""

from __future__ import annotations

from umbel.model.installed import Finder
from umbel_kernel import plugins

plugins.finder = Finder()
