"""How many bytes workflows are on the wire, with umbel and with Celery: `uv run benchmarks/canvas_size.py`."""

from __future__ import annotations

import sys

from harness import environment

if "--here" not in sys.argv:
    environment.enter(sys.argv)

from sizes.main import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
