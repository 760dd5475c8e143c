"""Do faults to umbel and to Celery, and count what is lost: `uv run benchmarks/faults.py`. See docs/reliability.md."""

from __future__ import annotations

import sys

from harness import environment

if "--here" not in sys.argv:
    environment.enter(sys.argv)

from faults.main import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
