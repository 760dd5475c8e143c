"""Settings of the periodic scheduler."""

from __future__ import annotations

from umbel_kernel.setting import Setting

BEAT = (
    Setting("beat_enable_remote_control", "bool", False, "Whether beat answers remote control commands."),
    Setting(
        "beat_remote_control_max_tick_age",
        "float",
        None,
        "Seconds since the last tick after which beat answers a ping as unhealthy; unset never does.",
    ),
    Setting(
        "beat_max_loop_interval",
        "float",
        0,
        "The longest sleep in seconds between two looks at the schedule; 0 leaves it to the scheduler.",
    ),
    Setting("beat_schedule", "dict", {}, "Periodic tasks: a name to its task, schedule, arguments and options."),
    Setting(
        "beat_scheduler",
        "str|class",
        None,
        "The scheduler class or its dotted path; unset takes the one that keeps its state in a file.",
    ),
    Setting("beat_schedule_filename", "str", "celerybeat-schedule", "The file in which last run times are kept."),
    Setting(
        "beat_sync_every",
        "int",
        0,
        "How many tasks may be sent before the schedule is saved; 0 saves by time only.",
    ),
    Setting(
        "beat_cron_starting_deadline",
        "int",
        None,
        "How many seconds late a missed crontab entry may still run when beat starts; unset runs it always.",
    ),
)
