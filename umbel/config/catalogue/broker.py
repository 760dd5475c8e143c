"""Settings of the connection to the broker."""

from __future__ import annotations

from umbel_kernel.setting import Setting

BROKER = (
    Setting(
        "broker_url",
        "str|list",
        None,
        "The broker's URL, or several to fail over between, as a list or separated by ';'.",
    ),
    Setting("broker_read_url", "str|list", None, "The broker to consume from, when it is not broker_url."),
    Setting("broker_write_url", "str|list", None, "The broker to publish to, when it is not broker_url."),
    Setting("broker_transport", "str", None, "The transport to use when broker_url is unset or has no scheme."),
    Setting("broker_transport_options", "dict", {}, "Options handed to the broker plugin as they are."),
    Setting("broker_connection_timeout", "float|none", 4.0, "Seconds to wait for a connection to the broker."),
    Setting("broker_connection_retry", "bool", True, "Whether a lost connection is made again."),
    Setting(
        "broker_connection_retry_on_startup",
        "bool",
        None,
        "Whether the first connection is retried too; unset means the same as broker_connection_retry.",
    ),
    Setting(
        "broker_connection_max_retries",
        "int|none",
        100,
        "How often a connection is tried before giving up; None or 0 tries for ever.",
    ),
    Setting("broker_channel_error_retry", "bool", False, "Whether an error of the channel is answered by a reconnect."),
    Setting(
        "broker_failover_strategy",
        "str|callable",
        None,
        "How the next of several URLs is chosen: 'round-robin', 'shuffle', or a function of the list.",
    ),
    Setting(
        "broker_heartbeat",
        "float|none",
        120.0,
        "Seconds between heartbeats agreed with an AMQP broker; 0 or None switches them off.",
    ),
    Setting(
        "broker_heartbeat_checkrate",
        "float",
        3.0,
        "How many times within one heartbeat interval the connection is checked.",
    ),
    Setting("broker_login_method", "str", None, "The SASL mechanism to log in with, such as 'PLAIN' or 'EXTERNAL'."),
    Setting(
        "broker_native_delayed_delivery_queue_type",
        "str",
        "quorum",
        "The type of the queues that hold delayed messages on RabbitMQ.",
        choices=("quorum", "classic"),
    ),
    Setting(
        "broker_pool_limit",
        "int|none",
        10,
        "The most connections kept open for publishing; 0 or None opens one for each publish.",
    ),
    Setting(
        "broker_pool_acquire_timeout",
        "float",
        None,
        "Seconds to wait for a free connection of the pool; unset waits for ever.",
    ),
    Setting(
        "broker_publish_timeout",
        "float",
        5.0,
        "Seconds after which a publish that the broker has not taken gives up with OperationalError.",
    ),
    Setting("broker_use_ssl", "bool|dict", False, "Whether to use TLS, or the TLS options to use."),
    Setting("broker_host", "str", None, "The broker's host, used when broker_url is unset."),
    Setting("broker_port", "int", None, "The broker's port, used with broker_host."),
    Setting("broker_user", "str", None, "The user to log in as, used with broker_host."),
    Setting("broker_password", "str", None, "The password to log in with, used with broker_host."),
    Setting("broker_vhost", "str", None, "The virtual host or database, used with broker_host."),
)
