"""Settings of tasks: how they are published, routed, acknowledged and bounded."""

from __future__ import annotations

from umbel_kernel.setting import Setting

DELIVERY = (
    Setting("task_acks_late", "bool", False, "Whether a message is acknowledged after its task ran, not before."),
    Setting(
        "task_acks_on_failure_or_timeout",
        "bool",
        True,
        "Whether a late-acknowledged message is also acknowledged when its task fails or times out; "
        "superseded by task_acks_on_failure and task_acks_on_timeout.",
    ),
    Setting(
        "task_acks_on_failure",
        "bool",
        None,
        "Whether a late-acknowledged message is also acknowledged when its task fails; "
        "unset follows task_acks_on_failure_or_timeout.",
    ),
    Setting(
        "task_acks_on_timeout",
        "bool",
        None,
        "Whether a late-acknowledged message is also acknowledged when its task is killed for its hard time limit, "
        "instead of being delivered again; unset follows task_acks_on_failure_or_timeout.",
    ),
    Setting(
        "task_reject_on_worker_lost",
        "bool",
        None,
        "Whether a late-acknowledged message goes back to its queue when the process that ran it dies; "
        "unset means yes, with False the task fails.",
    ),
    Setting(
        "task_retry_on_worker_lost",
        "bool",
        False,
        "Whether a task whose process died is retried: after its default_retry_delay, up to its max_retries.",
    ),
    Setting(
        "task_worker_lost_limit",
        "int",
        3,
        "How many workers or pool processes a task may take with it before it fails and goes to the dead-letter queue; "
        "0 sets no limit.",
    ),
)

EXECUTION = (
    Setting("task_always_eager", "bool", False, "Whether tasks run at once in the caller instead of being sent."),
    Setting("task_eager_propagates", "bool", False, "Whether a task that runs eagerly raises its error to the caller."),
    Setting("task_store_eager_result", "bool", False, "Whether the result of a task that ran eagerly is stored."),
    Setting("task_ignore_result", "bool", False, "Whether results are thrown away unless a task says otherwise."),
    Setting(
        "task_store_errors_even_if_ignored",
        "bool",
        False,
        "Whether an error is stored though the task's result is ignored.",
    ),
    Setting("task_track_started", "bool", False, "Whether the state STARTED is stored when a task begins."),
    Setting("task_soft_time_limit", "float", None, "Seconds after which SoftTimeLimitExceeded is raised in a task."),
    Setting("task_time_limit", "float", None, "Seconds after which the process that runs a task is killed."),
    Setting(
        "task_annotations", "any", None, "Changes to attributes of tasks: a name, or '*', to a dict; or a list of them."
    ),
    Setting("task_remote_tracebacks", "bool", False, "Whether an error raised from a result carries its traceback."),
    Setting("task_repr_maxlevels", "int", 3, "How deeply nested arguments are shown in logs and events."),
    Setting(
        "task_allow_error_cb_on_chord_header",
        "bool",
        False,
        "Whether an error callback of a chord is also linked to each task of its header.",
    ),
)

PUBLISHING = (
    Setting("task_serializer", "str", "json", "The serializer of task messages."),
    Setting("task_compression", "str", None, "The compressor of task messages."),
    Setting("task_protocol", "int", 2, "The version of the task message protocol that is sent.", choices=(1, 2)),
    Setting("task_publish_retry", "bool", True, "Whether a publish that fails is tried again."),
    Setting(
        "task_publish_retry_policy",
        "dict",
        {"max_retries": 3, "interval_start": 0, "interval_max": 1, "interval_step": 0.2},
        "How often and at what intervals in seconds a failed publish is tried again.",
    ),
    Setting("task_send_sent_event", "bool", False, "Whether a client sends a task-sent event for each task it sends."),
)

ROUTING = (
    Setting("task_queues", "list|dict", None, "The queues to consume from, as Queue objects or a dict of options."),
    Setting("task_routes", "any", None, "Where tasks go: a dict of name patterns, a function, or a list of them."),
    Setting(
        "task_create_missing_queues", "bool", True, "Whether a queue that task_queues does not name is made on use."
    ),
    Setting("task_create_missing_queue_type", "str", "classic", "The type of queues made on use, such as 'quorum'."),
    Setting(
        "task_create_missing_queue_exchange_type",
        "str",
        None,
        "The exchange type of queues made on use; unset follows task_default_exchange_type.",
    ),
    Setting("task_default_queue", "str", "celery", "The queue of tasks that no route claims."),
    Setting("task_default_queue_type", "str", "classic", "The type of the default queue, such as 'quorum'."),
    Setting("task_default_exchange", "str", None, "The default exchange; unset bears the name of the default queue."),
    Setting("task_default_exchange_type", "str", "direct", "The type of exchanges that do not name one."),
    Setting(
        "task_default_routing_key", "str", None, "The default routing key; unset is the name of the default queue."
    ),
    Setting(
        "task_default_delivery_mode",
        "int|str",
        2,
        "Whether messages survive a restart of the broker: 2 or 'persistent' they do, 1 or 'transient' they do not.",
        choices=(1, 2, "transient", "persistent"),
    ),
    Setting(
        "task_default_rate_limit",
        "str|int|float",
        None,
        "How often tasks of one name may start in one worker: a number a second, or text such as '100/m'.",
    ),
    Setting("task_default_priority", "int", None, "The priority of tasks that name none, from 0 to 255."),
    Setting("task_inherit_parent_priority", "bool", False, "Whether a task has the priority of the task that sent it."),
    Setting("task_queue_max_priority", "int", None, "The highest priority of queues that do not set x-max-priority."),
)

TASK = (*DELIVERY, *EXECUTION, *PUBLISHING, *ROUTING)
