"""The settings of the rpc backend. The broker's own settings say where it is."""

from __future__ import annotations

from umbel_kernel.setting import Setting

SETTINGS = (
    Setting("broker_url", "any", None, "The broker, or several, that carry the results; the framework passes it on."),
    Setting("broker_transport_options", "dict", None, "Options for kombu's transport of that broker."),
    Setting("broker_use_ssl", "any", None, "TLS: True, or a dict in the words of the transport's client library."),
    Setting("broker_heartbeat", "float", 0.0, "Seconds between signs of life where the transport has them; 0 is none."),
    Setting("result_persistent", "bool", False, "Whether a result on its way outlives the broker's restart."),
    Setting(
        "rpc_reply_expires", "float", 600.0, "Seconds without a reader after which the broker drops a reply queue."
    ),
    Setting("rpc_cache_max", "int", 100_000, "How many results this process keeps; the oldest go first."),
)
