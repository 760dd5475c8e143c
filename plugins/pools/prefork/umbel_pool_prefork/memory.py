"""How much memory this process holds."""

from __future__ import annotations

import os
import resource
import sys


class Memory:
    """Reads the resident size of this process; on Linux the present one, elsewhere the largest it ever was."""

    def __init__(self) -> None:
        self._file = os.open("/proc/self/statm", os.O_RDONLY) if os.path.exists("/proc/self/statm") else -1
        self._page = resource.getpagesize() // 1024 or 1

    def kib(self) -> int:
        """The size in KiB."""
        if self._file >= 0:
            return int(os.pread(self._file, 128, 0).split()[1]) * self._page
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak // 1024 if sys.platform == "darwin" else peak
