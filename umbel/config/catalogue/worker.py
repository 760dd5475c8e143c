"""Settings of the worker: its pool, its consumer and what it writes."""

from __future__ import annotations

from umbel_kernel.setting import Setting

LOG_FORMAT = "[%(asctime)s: %(levelname)s/%(processName)s] %(message)s"
TASK_LOG_FORMAT = "[%(asctime)s: %(levelname)s/%(processName)s] %(task_name)s[%(task_id)s]: %(message)s"

POOL = (
    Setting("worker_pool", "str|class", "prefork", "The pool that runs tasks: the name of a plugin, or a class."),
    Setting(
        "worker_concurrency",
        "int|'auto'",
        None,
        "How many tasks run at a time; unset takes the number of CPUs, 'auto' heeds the quota of a container.",
    ),
    Setting("worker_pool_putlocks", "bool", True, "Whether jobs wait in the worker until the pool has room."),
    Setting("worker_pool_restarts", "bool", False, "Whether the pool_restart command is obeyed."),
    Setting(
        "worker_pool_start_method",
        "str",
        "fork",
        "How the processes of a pool are started: forked, by a process with one thread; 'spawn' is refused.",
        choices=("fork", "spawn", "forkserver"),
    ),
    Setting("worker_proc_alive_timeout", "float", 4.0, "Seconds that a new process of the pool has to come up."),
    Setting("worker_lost_wait", "float", 10.0, "Seconds to wait for the result of a process that has died."),
    Setting("worker_max_tasks_per_child", "int", None, "How many tasks a process runs before it is replaced."),
    Setting(
        "worker_max_memory_per_child",
        "int",
        None,
        "KiB of resident memory after which a process is replaced once its task is done.",
    ),
    Setting(
        "worker_autoscaler",
        "str|class",
        None,
        "The class that grows and shrinks the pool with --autoscale; unset takes ours.",
    ),
    Setting("worker_agent", "str|class", None, "An agent to run beside the worker, as a class or its dotted path."),
    Setting("worker_consumer", "str|class", None, "The consumer class or its dotted path; unset takes ours."),
    Setting("worker_timer", "str|class", None, "The timer class or its dotted path; unset takes the pool's own."),
    Setting("worker_timer_precision", "float", 1.0, "The longest sleep in seconds between two looks at the timers."),
)

CONSUMPTION = (
    Setting(
        "worker_prefetch_multiplier",
        "int",
        4,
        "How many messages are reserved for each running task; 0 sets no limit.",
    ),
    Setting("worker_disable_prefetch", "bool", False, "Whether a message is fetched only when a task can start."),
    Setting(
        "worker_enable_prefetch_count_reduction",
        "bool",
        True,
        "Whether fewer messages are reserved after a reconnect, while earlier ones still run.",
    ),
    Setting(
        "worker_eta_task_limit", "int", None, "How many tasks with an ETA are held at a time; unset sets no limit."
    ),
    Setting("worker_direct", "bool", False, "Whether each worker has a queue of its own to which tasks can be sent."),
    Setting("worker_disable_rate_limits", "bool", False, "Whether rate limits of tasks are ignored."),
    Setting(
        "worker_deduplicate_successful_tasks",
        "bool",
        False,
        "Whether a redelivered task that already succeeded is acknowledged without running again.",
    ),
    Setting(
        "worker_cancel_long_running_tasks_on_connection_loss",
        "bool",
        False,
        "Whether late-acknowledged tasks are ended when the broker connection is lost.",
    ),
    Setting(
        "worker_detect_quorum_queues",
        "bool",
        True,
        "Whether the worker looks for quorum queues and sets its prefetch the way they need.",
    ),
    Setting(
        "worker_max_message_size",
        "int",
        64 * 1024 * 1024,
        "The largest body in bytes that is read; a larger one is dead-lettered unread.",
    ),
    Setting(
        "worker_dead_letter_queue",
        "str",
        "umbel.dead-letter",
        "The queue of messages that cannot be understood; an empty name switches it off.",
    ),
    Setting(
        "worker_warm_shutdown_timeout",
        "float",
        0.0,
        "Seconds that running tasks have to finish at a warm shutdown, which then is a cold one; 0 for any number.",
    ),
    Setting(
        "worker_soft_shutdown_timeout",
        "float",
        0.0,
        "Seconds that running tasks have to finish between a soft and a cold shutdown.",
    ),
    Setting(
        "worker_enable_soft_shutdown_on_idle",
        "bool",
        False,
        "Whether a cold shutdown is a soft one first also when no task runs.",
    ),
    Setting("worker_enable_remote_control", "bool", True, "Whether the worker answers remote control commands."),
    Setting("worker_send_task_events", "bool", False, "Whether events are sent for monitors; also the option -E."),
    Setting("worker_state_db", "str", None, "The file in which revoked tasks are kept between runs."),
)

LOGGING = (
    Setting("worker_hijack_root_logger", "bool", True, "Whether handlers of the root logger are replaced."),
    Setting("worker_log_color", "bool", None, "Whether logs are coloured; unset means on a terminal."),
    Setting("worker_log_format", "str", LOG_FORMAT, "The format of the worker's log lines."),
    Setting("worker_log_datefmt", "str", None, "The format of times in the worker's log lines."),
    Setting("worker_task_log_format", "str", TASK_LOG_FORMAT, "The format of log lines written by tasks."),
    Setting("worker_task_log_datefmt", "str", None, "The format of times in log lines written by tasks."),
    Setting("worker_redirect_stdouts", "bool", True, "Whether what is printed goes to the log."),
    Setting("worker_redirect_stdouts_level", "str|int", "WARNING", "The level at which printed text is logged."),
)

WORKER = (*POOL, *CONSUMPTION, *LOGGING)
