"""A private Redis that writes each change to its disk before it answers, so that a restart loses nothing."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import redis
from harness.failure import Failure

from faults.servers.free_port import free_port
from faults.servers.process import Process


class PrivateRedis:
    private = True

    def __init__(self, folder: Path) -> None:
        program = shutil.which("redis-server")
        if program is None:
            raise Failure("redis-server is not installed; install it, or name your own server with --redis")
        folder.mkdir(parents=True, exist_ok=True)
        port = free_port()
        self.url = f"redis://127.0.0.1:{port}/0"
        self._client = redis.Redis(port=port, socket_timeout=1.0, socket_connect_timeout=1.0)
        options = {"port": port, "bind": "127.0.0.1", "dir": folder, "save": "", "daemonize": "no"}
        options |= {"appendonly": "yes", "appendfsync": "always"}
        words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        self._process = Process(
            [program, *words], log=folder / "redis.log", answers=self._client.ping, timeout=20.0, env=os.environ
        )

    def start(self) -> None:
        self._process.start()

    def stop(self) -> None:
        self._process.stop()

    def close(self) -> None:
        self._client.close()
        self._process.stop()
