"""What Celery's settings and a URL's query say of TLS, by the names that redis-py gives its options.

Imported where TLS is asked for.
"""

from __future__ import annotations

import difflib
import ssl
from collections.abc import Mapping
from typing import Any

from umbel_client_redis.truth import truth
from umbel_kernel.errors import ConfigurationError
from umbel_kernel.url import URL

_CHECKS = {
    "CERT_REQUIRED": ssl.CERT_REQUIRED,
    "CERT_OPTIONAL": ssl.CERT_OPTIONAL,
    "CERT_NONE": ssl.CERT_NONE,
    "required": ssl.CERT_REQUIRED,
    "optional": ssl.CERT_OPTIONAL,
    "none": ssl.CERT_NONE,
}
KNOWN = frozenset(
    {
        "ssl_keyfile",
        "ssl_certfile",
        "ssl_cert_reqs",
        "ssl_include_verify_flags",
        "ssl_exclude_verify_flags",
        "ssl_ca_certs",
        "ssl_ca_data",
        "ssl_check_hostname",
        "ssl_ca_path",
        "ssl_password",
        "ssl_validate_ocsp",
        "ssl_validate_ocsp_stapled",
        "ssl_ocsp_context",
        "ssl_ocsp_expected_cert",
        "ssl_min_version",
        "ssl_ciphers",
    }
)
FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")


def tls_arguments(url: URL, options: Mapping[str, Any]) -> dict[str, Any]:
    """The TLS options out of a dict such as ``broker_use_ssl`` and the query, which goes first.

    The server's certificate and its name are checked unless somebody says otherwise.

    Raises:
        ConfigurationError: an option is unknown or has a value that it cannot have.
    """
    wanted = {str(name): value for name, value in options.items() if value is not None or name == "ssl_cert_reqs"}
    wanted.update((name, value) for name, value in url.query.items() if name.startswith("ssl_"))
    for name in wanted:
        if name not in KNOWN:
            near = difflib.get_close_matches(name if name.startswith("ssl_") else f"ssl_{name}", KNOWN, n=1)
            guess = f"did you mean {near[0]!r}? " if near else ""
            raise ConfigurationError(f"{name!r} is no TLS option of Redis; {guess}There are {', '.join(sorted(KNOWN))}")
    wanted["ssl_cert_reqs"] = checks = checks_of(wanted.get("ssl_cert_reqs", ssl.CERT_REQUIRED))
    named = wanted.get("ssl_check_hostname", checks != ssl.CERT_NONE)
    wanted["ssl_check_hostname"] = truth("ssl_check_hostname", named) and checks != ssl.CERT_NONE
    least = wanted.get("ssl_min_version")
    if isinstance(least, str):
        if least not in ssl.TLSVersion.__members__:
            raise ConfigurationError(f"ssl_min_version is {least!r}; it has to be TLSv1_2 or TLSv1_3")
        wanted["ssl_min_version"] = ssl.TLSVersion[least]
    return wanted


def checks_of(value: object) -> ssl.VerifyMode:
    """What is checked of a certificate, of a constant of ``ssl`` or one of Celery's words.

    Raises:
        ConfigurationError: it is neither.
    """
    found = _CHECKS.get(value) if isinstance(value, str) else None
    if isinstance(value, int) and not isinstance(value, bool) and value in ssl.VerifyMode.__members__.values():
        found = ssl.VerifyMode(value)
    if found is None:
        raise ConfigurationError(f"ssl_cert_reqs is {value!r}; it has to be one of {', '.join(_CHECKS)}")
    return found
