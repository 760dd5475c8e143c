"""A private RabbitMQ node: ports, data, cookie and port mapper of its own, so that no other node hears of it."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path

import amqp
from harness.failure import Failure

from faults.servers.free_port import free_port
from faults.servers.process import Process

_PLACES = (
    "/usr/lib/rabbitmq/bin/rabbitmq-server",
    "/opt/homebrew/sbin/rabbitmq-server",
    "/usr/local/sbin/rabbitmq-server",
)
"""Where the program itself is: Debian's /usr/sbin/rabbitmq-server is a wrapper that asks for a certain user."""


class PrivateRabbitMQ:
    private = True

    def __init__(self, folder: Path) -> None:
        program = next((place for place in _PLACES if os.access(place, os.X_OK)), shutil.which("rabbitmq-server"))
        mapper = shutil.which("epmd")
        if program is None or mapper is None:
            raise Failure("RabbitMQ is not installed; install it, or name your own server with --amqp")
        for name in ("home", "data", "log"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        port, distribution, mapping = free_port(), free_port(), free_port()
        self.url = f"amqp://guest:guest@127.0.0.1:{port}//"
        self._at = f"127.0.0.1:{port}"
        (folder / "rabbitmq.conf").write_text(
            f"listeners.tcp.default = 127.0.0.1:{port}\n"
            "disk_free_limit.absolute = 50MB\nlog.console = true\nlog.console.level = warning\n"
        )
        (folder / "plugins").write_text("[].\n")
        self._env = {
            **{name: value for name, value in os.environ.items() if not name.startswith("RABBITMQ_")},
            "HOME": str(folder / "home"),
            "RABBITMQ_NODENAME": f"faults{port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(port),
            "RABBITMQ_DIST_PORT": str(distribution),
            "RABBITMQ_MNESIA_BASE": str(folder / "data"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_PID_FILE": str(folder / "rabbit.pid"),
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "ERL_CRASH_DUMP": str(folder / "erl_crash.dump"),
            # One scheduler without busy waiting: the server shares the cores with what is measured.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1} +sbwt none +S 1:1",
            "ERL_EPMD_PORT": str(mapping),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
        }
        log = folder / "rabbitmq.log"
        self._mapper = Process(
            [mapper, "-address", "127.0.0.1", "-port", str(mapping)],
            log=log,
            answers=lambda: socket.create_connection(("127.0.0.1", mapping), 1.0).close(),
            timeout=10.0,
            env=self._env,
        )
        self._node = Process([program], log=log, answers=self._connect, timeout=120.0, env=self._env)
        self._mapped = False

    def _connect(self) -> None:
        connection = amqp.Connection(self._at, connect_timeout=2.0, read_timeout=2.0, write_timeout=2.0)
        try:
            connection.connect()
        finally:
            connection.collect()

    def start(self) -> None:
        if not self._mapped:
            self._mapper.start()
            self._mapped = True
        self._node.start()

    def stop(self) -> None:
        self._node.stop()

    def close(self) -> None:
        self._node.stop()
        self._mapper.stop()
