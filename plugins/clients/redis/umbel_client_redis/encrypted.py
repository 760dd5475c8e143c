"""A connection with TLS. Imported where one is asked for."""

from __future__ import annotations

import importlib
import socket
import ssl
from typing import Any

from umbel_client_redis.connection import Connection
from umbel_client_redis.errors import Disconnected
from umbel_client_redis.tls import tls_arguments as tls_arguments

_OCSP = ("ssl_validate_ocsp", "ssl_validate_ocsp_stapled")


class EncryptedConnection(Connection):
    """A connection by TCP with TLS.

    Args:
        tls: the options that ``tls.tls_arguments`` has checked. OCSP is redis-py's.
    """

    def __init__(self, *, tls: dict[str, Any], **said: Any) -> None:
        super().__init__(**said)
        self.tls = tls

    def _secured(self, sock: socket.socket) -> socket.socket:
        try:
            if any(self.tls.get(name) for name in _OCSP):
                return self._checked_by_ocsp(sock)
            return self._context().wrap_socket(sock, server_hostname=self.host)
        except BaseException:
            sock.close()
            raise

    def _context(self) -> ssl.SSLContext:
        tls = self.tls
        context = ssl.create_default_context()
        context.check_hostname = tls["ssl_check_hostname"]
        context.verify_mode = tls["ssl_cert_reqs"]
        for flag in tls.get("ssl_include_verify_flags") or ():
            context.verify_flags |= flag
        for flag in tls.get("ssl_exclude_verify_flags") or ():
            context.verify_flags &= ~flag
        if tls.get("ssl_certfile") or tls.get("ssl_keyfile"):
            context.load_cert_chain(tls["ssl_certfile"], tls.get("ssl_keyfile"), tls.get("ssl_password"))
        authorities = [tls.get(name) for name in ("ssl_ca_certs", "ssl_ca_path", "ssl_ca_data")]
        if any(each is not None for each in authorities):
            context.load_verify_locations(*authorities)
        if tls.get("ssl_min_version") is not None:
            context.minimum_version = tls["ssl_min_version"]
        if tls.get("ssl_ciphers"):
            context.set_ciphers(tls["ssl_ciphers"])
        return context

    def _checked_by_ocsp(self, sock: socket.socket) -> socket.socket:
        library = importlib.import_module("redis")
        try:
            made = library.SSLConnection(host=self.host, port=self.port, **self.tls)
            wrapped: socket.socket = made._wrap_socket_with_ssl(sock)
        except library.RedisError as error:
            raise Disconnected(str(error)) from error
        return wrapped
