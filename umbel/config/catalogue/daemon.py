"""Settings of long-running programs: the worker, beat and the event recorder have the same ones."""

from __future__ import annotations

from umbel_kernel.setting import Setting


def _daemon(group: str, program: str) -> tuple[Setting, ...]:
    return (
        Setting(f"{group}_pidfile", "str", None, f"The file into which {program} writes its process id."),
        Setting(f"{group}_logfile", "str", None, f"The file into which {program} logs; unset logs to standard error."),
        Setting(f"{group}_uid", "str|int", None, f"The user, by name or number, that {program} changes to."),
        Setting(f"{group}_gid", "str|int", None, f"The group, by name or number, that {program} changes to."),
        Setting(f"{group}_umask", "str|int", None, f"The umask of {program}; a string is octal."),
        Setting(f"{group}_executable", "str", None, f"The Python interpreter that a detached {program} runs under."),
    )


DAEMON = (*_daemon("worker", "the worker"), *_daemon("beat", "beat"), *_daemon("events", "the event recorder"))
