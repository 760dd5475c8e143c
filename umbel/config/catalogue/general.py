"""Settings that belong to no group."""

from __future__ import annotations

from umbel_kernel.setting import Setting

GENERAL = (
    Setting("accept_content", "list", ("json",), "Names or content types of the serializers whose messages are read."),
    Setting(
        "result_accept_content",
        "list",
        None,
        "Names or content types of the serializers whose results are read; unset means the same as accept_content.",
    ),
    Setting("enable_utc", "bool", True, "Whether times in messages are written in UTC."),
    Setting("imports", "list", (), "Modules that a worker imports when it starts, so that their tasks are known."),
    Setting("include", "list", (), "More modules that a worker imports when it starts, listed after imports."),
    Setting(
        "timezone",
        "str|tzinfo",
        None,
        "The time zone of schedules and shown times, as an IANA name such as 'Europe/London'; unset means UTC.",
    ),
    Setting(
        "override_backends",
        "dict",
        {},
        "Result backends of the project's own: a URL scheme to the dotted path of the class that serves it.",
    ),
)
