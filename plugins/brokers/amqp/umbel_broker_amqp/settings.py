"""The settings of the AMQP broker, by Celery's and kombu's names."""

from __future__ import annotations

from umbel_kernel.setting import Setting

SETTINGS = (
    Setting("broker_heartbeat", "float", 120.0, "Seconds between signs of life of a connection; 0 is none."),
    Setting(
        "broker_native_delayed_delivery_queue_type",
        "str",
        "quorum",
        "The type of the queues in which messages wait where quorum queues are used: quorum or classic.",
    ),
    Setting("broker_login_method", "str", "PLAIN", "SASL mechanism: PLAIN, AMQPLAIN or EXTERNAL."),
    Setting("broker_use_ssl", "any", None, "TLS: True, or a dict of ca_certs, certfile, keyfile, cert_reqs."),
    Setting(
        "confirm_publish",
        "bool",
        None,
        "Whether each call waits for the server's confirms; False: there are none; unset: only batches wait.",
    ),
    Setting("confirm_window", "int", 10_000, "Messages that may be unconfirmed before a call waits."),
    Setting("read_timeout", "float", 5.0, "Seconds that a consumer waits for an answer of the server."),
    Setting("client_properties", "dict", None, "What the management page shows of the connection."),
    Setting("socket_settings", "dict", None, "Numbers of TCP options and their values."),
)
