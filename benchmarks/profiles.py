"""Where the microseconds of `delay()` and of a worker go: `uv run benchmarks/profiles.py`.

It is not called profile.py, which would hide the standard library's module of that name from everything in here.
"""

from __future__ import annotations

import sys

from harness import environment

environment.enter(sys.argv)

from profiling.main import main  # noqa: E402  (it needs what the environment holds)

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
