"""The app of the worker that is profiled: that of the benchmark, whose task begins and ends the sampling.

The first half of the messages is run without, for the figures, the second half with it. The result is written beside
`BENCH_FILE`.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import contenders.umbel as contender
from harness.mark import mark
from harness.place import FILE

from profiling.sampler import Sampler

app = contender.app

WARM_UP = 1000
_half = int(os.environ["BENCH_PROFILE_HALF"])
_sampler = Sampler()
_done = 0
_begun = (0.0, 0.0)
_found: dict[str, float] = {}


def counting_mark() -> None:
    global _done, _begun
    mark()
    _done += 1
    if _done == WARM_UP:
        _begun = (time.perf_counter(), time.process_time())
    elif _done == WARM_UP + _half:
        now = (time.perf_counter(), time.process_time())
        _found["wall"], _found["cpu"] = ((after - before) / _half for before, after in zip(_begun, now, strict=True))
        _sampler.start()
    elif _done == WARM_UP + 2 * _half:
        _sampler.stop()
        seconds = [[*place, spent] for place, spent in _sampler.seconds.items()]
        Path(FILE + ".profile").write_text(json.dumps({**_found, "seconds": seconds}))


vars(contender)["mark"] = counting_mark
