"""A RabbitMQ server of one's own, with a node name, ports, data and a cookie of its own, that tests stop and fill.

Loaded by ``conftest.py``; tests ask for the fixture ``rabbit``.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import amqp

BIN = Path("/usr/lib/rabbitmq/bin")


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


class Rabbit:
    """A server.

    Args:
        folder: for its data and logs.
        advanced: settings of the server in Erlang's words, such as ``{consumer_timeout, 5000}``.
        certificates: a folder with ``ca.crt``, ``server.crt`` and ``server.key``: it also listens for TLS.
    """

    def __init__(self, folder: Path, advanced: str = "", certificates: Path | None = None) -> None:
        self.folder = folder
        self.port, self.tls_port, names, between = free_ports(4)
        (folder / "home").mkdir()
        lines = [
            f"listeners.tcp.default = 127.0.0.1:{self.port}",
            "disk_free_limit.absolute = 50MB",
            "log.console.level = warning",
        ]
        if certificates is not None:
            lines += [
                f"listeners.ssl.default = 127.0.0.1:{self.tls_port}",
                f"ssl_options.cacertfile = {certificates}/ca.crt",
                f"ssl_options.certfile = {certificates}/server.crt",
                f"ssl_options.keyfile = {certificates}/server.key",
                "ssl_options.verify = verify_peer",
                "ssl_options.fail_if_no_peer_cert = true",
            ]
        (folder / "rabbitmq.conf").write_text("\n".join(lines))
        (folder / "advanced.config").write_text(f"[{{rabbit, [{advanced}]}}].")
        (folder / "plugins").write_text("[].")
        self._env = {
            **os.environ,
            "HOME": str(folder / "home"),
            "RABBITMQ_NODENAME": f"umbel{self.port}@localhost",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_DIST_PORT": str(between),
            "ERL_EPMD_PORT": str(names),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(folder / "advanced.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1} +sbwt none +S 1:1",
        }
        self._names = self._spawn("epmd", "-address", "127.0.0.1", "-port", str(names))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it is."""
        return f"amqp://guest:guest@127.0.0.1:{self.port}//"

    def start(self) -> float:
        """Start it and wait until clients may connect. Returns the monotonic time of that."""
        self._process = self._spawn(str(BIN / "rabbitmq-server"))
        end = time.monotonic() + 60
        while time.monotonic() < end:
            assert self._process.poll() is None, self.log()
            try:
                with amqp.Connection(f"127.0.0.1:{self.port}", connect_timeout=1, read_timeout=2):
                    return time.monotonic()
            except (OSError, amqp.exceptions.AMQPError):
                time.sleep(0.05)
        raise AssertionError(f"rabbitmq-server does not start: {self.log()}")

    def stop(self, number: int = signal.SIGTERM) -> None:
        """End it: SIGTERM in good order, SIGKILL at once."""
        process, self._process = self._process, None
        if process is not None:
            os.killpg(process.pid, number)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(10)

    def tell(self, *words: str) -> str:
        """Run ``rabbitmqctl``; takes seconds."""
        done = subprocess.run(
            [str(BIN / "rabbitmqctl"), "-q", *words],
            cwd=self.folder,
            env=self._env,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def log(self) -> str:
        """The end of what it said."""
        return (self.folder / "out").read_text()[-3000:]

    def close(self) -> None:
        """End it and what belongs to it."""
        self.stop(signal.SIGKILL)
        self._names.kill()
        self._names.wait()

    def _spawn(self, *command: str) -> subprocess.Popen[bytes]:
        with open(self.folder / "out", "ab") as out:
            return subprocess.Popen(
                command,
                cwd=self.folder,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )


def certificates(folder: Path) -> Path:
    """Make an authority, a server's certificate for ``localhost``, a client's, and an authority that nobody trusts."""

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True, timeout=60)

    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    for name in ("ca", "other"):
        openssl(
            "req", "-x509", *key, "-days", "2", "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.crt"
        )
    (folder / "names").write_text("subjectAltName=DNS:localhost")
    for name in ("server", "client"):
        openssl("req", "-new", *key, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
        signed = ("-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "names", "-days", "2")
        openssl("x509", "-req", "-in", f"{name}.csr", *signed, "-out", f"{name}.crt")
    return folder
