"""The settings of the kombu broker. Every other transport option goes to kombu as it is."""

from __future__ import annotations

from umbel_kernel.setting import Setting

SETTINGS = (
    Setting("broker_use_ssl", "any", None, "TLS: True, or a dict in the words of the transport's client library."),
    Setting("broker_heartbeat", "float", 0.0, "Seconds between signs of life where the transport has them; 0 is none."),
    Setting("socket_timeout", "float", 5.0, "Seconds to wait for an answer, where the transport lets it be set."),
    Setting("wake_interval", "float", 0.05, "Seconds between looks for a wake-up, where no socket can be waited on."),
)
