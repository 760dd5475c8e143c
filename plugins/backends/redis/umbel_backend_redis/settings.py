"""The settings of the Redis backend, by Celery's names."""

from __future__ import annotations

from umbel_kernel.setting import Setting

SETTINGS: tuple[Setting, ...] = (
    Setting("redis_host", "str", None, "Host of the server when the URL names none."),
    Setting("redis_port", "int", None, "Port of the server when the URL names none."),
    Setting("redis_db", "int", None, "Number of the database when the URL names none."),
    Setting("redis_username", "str", None, "User name when the URL has none."),
    Setting("redis_password", "str", None, "Password when the URL has none."),
    Setting(
        "redis_backend_credential_provider", "any", None, "Who is asked for user and password: an object or its path."
    ),
    Setting("redis_client_name", "str", None, "What CLIENT LIST shows."),
    Setting("redis_backend_use_ssl", "any", None, "TLS: True, or a dict of ssl_cert_reqs, ssl_ca_certs and so on."),
    Setting("redis_max_connections", "int", None, "Taken for Celery's sake; this backend opens two at most."),
    Setting("redis_socket_timeout", "float", 120.0, "Seconds to wait for an answer where the caller names no limit."),
    Setting("redis_socket_connect_timeout", "float", None, "Seconds that connecting may take at most."),
    Setting("redis_retry_on_timeout", "bool", False, "Whether to read once more after an answer that did not come."),
    Setting("redis_socket_keepalive", "bool", False, "Whether the connections send TCP keepalives."),
    Setting("global_keyprefix", "str", "", "Put before every key; _ is added unless it ends in one of : _ - and ."),
)

SENTINEL_SETTINGS = (
    Setting("master_name", "str", None, "What the sentinels call the master; needed for sentinel://."),
    Setting("min_other_sentinels", "int", 0, "How many other sentinels one has to see before it is believed."),
    Setting("sentinel_kwargs", "dict", None, "Arguments of redis.Redis for connecting to the sentinels themselves."),
)
"""What the sentinel:// scheme needs beside."""
