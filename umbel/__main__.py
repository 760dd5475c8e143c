"""``python -m umbel`` is the command line ``umbel``."""

from __future__ import annotations

import sys

from umbel.cli.start import main

if __name__ == "__main__":
    sys.exit(main())
