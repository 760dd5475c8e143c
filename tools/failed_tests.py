"""Name the tests that failed in pytest's last run, one a line, as pytest takes them from a file (``pytest @FILE``)."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

LAST_FAILED = Path(__file__).parents[1] / ".pytest_cache/v/cache/lastfailed"


def main() -> int:
    """Returns 1 when there are none, or more than can be a matter of chance."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--most", type=int, default=5, help="so many at the most")
    most = parser.parse_args().most
    failed = sorted(json.loads(LAST_FAILED.read_text())) if LAST_FAILED.exists() else []
    if not 0 < len(failed) <= most:
        print(f"{len(failed)} tests failed, and 1 to {most} could be run again", file=sys.stderr)
        return 1
    print("\n".join(failed))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
