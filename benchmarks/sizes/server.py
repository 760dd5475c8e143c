"""A Redis of the measurement's own, so that it sees no one else's messages."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import redis
from faults.servers.free_port import free_port
from faults.servers.process import Process
from harness.failure import Failure


class Server:
    """Runs until it is closed, keeping nothing on a disk."""

    def __init__(self, folder: Path) -> None:
        program = shutil.which("redis-server")
        if program is None:
            raise Failure("redis-server is not installed")
        port = free_port()
        self.url = f"redis://127.0.0.1:{port}/0"
        self._client = redis.Redis(port=port, socket_timeout=1.0, socket_connect_timeout=1.0)
        command = [program, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", ""]
        self._process = Process(
            command, log=folder / "redis.log", answers=self._client.ping, timeout=20.0, env=os.environ
        )

    def __enter__(self) -> Server:
        self._process.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._client.close()
        self._process.stop()
