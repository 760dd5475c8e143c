"""The transport options of the Redis broker, by the names that kombu gave them."""

from __future__ import annotations

from umbel_kernel.setting import Setting

SETTINGS = (
    Setting("visibility_timeout", "float", 3600.0, "Seconds after which what a dead consumer held comes back."),
    Setting("unacked_restore_interval", "float", 10.0, "Seconds between two looks for what dead consumers held."),
    Setting("unacked_restore_limit", "int", 100, "How many messages one look gives back at most."),
    Setting("unacked_key", "str", "unacked", "The hash of messages that consumers hold."),
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
    Setting("client_name", "str", None, "What CLIENT LIST shows."),
    Setting("broker_use_ssl", "any", None, "TLS: True, or a dict of ssl_cert_reqs, ssl_ca_certs and so on."),
)
