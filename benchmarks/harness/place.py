"""Where a contender finds its broker: handed down by the harness in the environment of every process it starts."""

from __future__ import annotations

import os

BROKER = os.environ.get("BENCH_BROKER", "redis")
REDIS = os.environ.get("BENCH_REDIS", "redis://127.0.0.1:6379/11")
RESULTS = os.environ.get("BENCH_RESULTS", "redis://127.0.0.1:6379/12")
AMQP = os.environ.get("BENCH_AMQP", "amqp://guest:guest@127.0.0.1:5672/%2F")
QUEUE = os.environ.get("BENCH_QUEUE", "bench")
FILE = os.environ.get("BENCH_FILE", "bench.db")
LEDGER = os.environ.get("BENCH_LEDGER", "")
NAP = 0.1
"""Seconds for which the coroutines of the measurement `async` sleep."""
MEASURE = os.environ.get("BENCH_MEASURE", "")
"""The measurement, for a contender that can be told only as a whole whether to keep results."""
