"""Settings of signed messages."""

from __future__ import annotations

from umbel_kernel.setting import Setting

SECURITY = (
    Setting("security_certificate", "str", None, "The file of the certificate that this process signs with."),
    Setting("security_cert_store", "str", None, "Where the trusted certificates are, as a pattern of file names."),
    Setting("security_key", "str", None, "The file of the private key that this process signs with."),
    Setting("security_key_password", "bytes|str", None, "The password of that private key."),
    Setting("security_digest", "str", "sha256", "The hash that signatures are made over."),
)
