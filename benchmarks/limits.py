"""The raw limits of this machine, to hold the benchmark's figures against: `uv run benchmarks/limits.py`.

Each line is one thing a task queue does, done in a bare loop: µs on the clock and µs of CPU an item, of this process.
"""

from __future__ import annotations

import sys

from harness import environment

environment.enter(sys.argv)

from harness.limits import main  # noqa: E402  (it needs what the environment holds)

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
