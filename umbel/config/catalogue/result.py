"""Settings of results, whichever store keeps them."""

from __future__ import annotations

from umbel_kernel.setting import Setting

RESULT = (
    Setting(
        "result_backend",
        "str|class",
        None,
        "The URL of the store of results, or a class; unset or 'disabled' keeps none.",
    ),
    Setting(
        "result_cache_max",
        "int|none",
        -1,
        "How many results a client keeps in memory; -1 keeps none, 0 or None sets no limit.",
    ),
    Setting("result_compression", "str", None, "The compressor of stored results."),
    Setting("result_exchange", "str", "celeryresults", "The exchange of results sent as messages."),
    Setting("result_exchange_type", "str", "direct", "The type of that exchange."),
    Setting(
        "result_expires",
        "float|none",
        86400.0,
        "Seconds or timedelta after which a result is deleted; None or 0 keeps it for ever.",
    ),
    Setting(
        "result_chord_expires",
        "float",
        None,
        "Seconds or timedelta after which the counters of a chord are deleted; unset follows result_expires.",
    ),
    Setting(
        "result_failure_expires",
        "float",
        None,
        "Seconds or timedelta after which a failure is deleted; unset follows result_expires.",
    ),
    Setting(
        "result_persistent",
        "bool",
        None,
        "Whether results survive a restart of their store; unset leaves it to the store.",
    ),
    Setting("result_extended", "bool", False, "Whether a result records its task's name, arguments, worker and queue."),
    Setting("result_serializer", "str", "json", "The serializer of results."),
    Setting("result_backend_transport_options", "dict", {}, "Options handed to the result backend as they are."),
    Setting("result_backend_thread_safe", "bool", False, "Whether one backend object may serve several threads."),
    Setting("result_chord_retry_interval", "float", 1.0, "Seconds between two looks at an unfinished chord."),
    Setting("result_chord_join_timeout", "float", 3.0, "Seconds to wait for the results of a chord's header."),
    Setting(
        "result_backend_max_sleep_between_retries_ms",
        "int",
        10000,
        "The longest pause in milliseconds between two tries of the store.",
    ),
    Setting(
        "result_backend_max_retries",
        "float",
        float("inf"),
        "How often a failing store is tried again when result_backend_always_retry is on.",
    ),
    Setting(
        "result_backend_base_sleep_between_retries_ms",
        "int",
        10,
        "The first pause in milliseconds between two tries of the store; it grows from there.",
    ),
    Setting("result_backend_always_retry", "bool", False, "Whether a store's recoverable errors are tried again."),
)
