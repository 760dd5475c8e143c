"""Measure umbel beside its peers: `uv run benchmarks/run.py`. See README.md in this folder."""

from __future__ import annotations

import sys

from harness import environment

environment.enter(sys.argv)

from harness.main import main  # noqa: E402  (it needs what the environment holds)

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
