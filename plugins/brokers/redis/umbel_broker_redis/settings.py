"""The transport options of the Redis broker, by the names that kombu gave them."""

from __future__ import annotations

from umbel_kernel.setting import Setting

SETTINGS: tuple[Setting, ...] = (
    Setting(
        "confirm_publish",
        "bool",
        None,
        "Whether each call waits for the server's reply; unset: those in quick succession do not.",
    ),
    Setting("lease", "float", 10.0, "Seconds without a sign of life after which a consumer loses what it holds."),
    Setting("visibility_timeout", "float", 3600.0, "Seconds after which what a consumer of Celery held comes back."),
    Setting("unacked_restore_interval", "float", 10.0, "Seconds between two looks for what Celery's consumers held."),
    Setting("unacked_restore_limit", "int", 100, "How many messages one look at these gives back at most."),
    Setting("unacked_key", "str", "unacked", "The hash of messages that Celery's consumers hold."),
    Setting("unacked_index_key", "str", "unacked_index", "The sorted set that says since when they are held."),
    Setting("global_keyprefix", "str", "", "Put before every key and channel."),
    Setting("priority_steps", "list", [0, 3, 6, 9], "The priorities that have a list of their own; 0 is read first."),
    Setting("sep", "str", "\x06\x16", "Stands between a queue's name and its priority step."),
    Setting("fanout_prefix", "any", True, "True: pub/sub channels begin with the database number; or text."),
    Setting("fanout_patterns", "bool", True, "Whether a fanout channel's name has the routing key in it."),
    Setting(
        "queue_order_strategy",
        "str",
        "round_robin",
        "Which queue is read first.",
        ("round_robin", "sorted", "priority"),
    ),
    Setting("socket_timeout", "float", 5.0, "Seconds that a consumer waits for an answer of the server."),
    Setting("socket_connect_timeout", "float", None, "Seconds that connecting may take at most."),
    Setting("socket_keepalive", "bool", True, "Whether the connections send TCP keepalives."),
    Setting("socket_keepalive_options", "dict", None, "Numbers of TCP options and their values."),
    Setting("health_check_interval", "float", 25.0, "Seconds of silence before a sign of life is asked for."),
    Setting("credential_provider", "any", None, "Who is asked for user and password: an object or its path."),
    Setting("client_name", "str", None, "What CLIENT LIST shows."),
    Setting("broker_use_ssl", "any", None, "TLS: True, or a dict of ssl_cert_reqs, ssl_ca_certs and so on."),
)

SENTINEL_SETTINGS = (
    Setting("master_name", "str", None, "What the sentinels call the master; needed for sentinel://."),
    Setting("min_other_sentinels", "int", 0, "How many other sentinels one has to see before it is believed."),
    Setting("sentinel_kwargs", "dict", None, "Arguments of redis.Redis for connecting to the sentinels themselves."),
)
"""What the sentinel:// scheme needs beside."""
