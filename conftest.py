"""Servers for tests. A test that needs one asks for its fixture and is skipped, by name, where there is none.

UMBEL_REQUIRE_SERVICES=redis,rabbitmq turns that skip into an error, so that nothing goes untested unseen.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck, settings

# How long a machine takes for an example says nothing of what it shows.
settings.register_profile("umbel", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("umbel")

BESIDE = 3
"""How many files of tests run side by side when all do: most of their time is waiting."""

REDIS_URL = os.environ.get("UMBEL_TEST_REDIS_URL", "redis://127.0.0.1:6379/9")
AMQP_URL = os.environ.get("UMBEL_TEST_AMQP_URL", "amqp://guest:guest@127.0.0.1:5672//")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """How many processes ``-n auto`` means: none for files that were asked for, so that a debugger can be used."""
    return 0 if config.args_source is pytest.Config.ArgsSource.ARGS else BESIDE


class RedisServer:
    """A Redis server of a test's own, which may be stopped and started.

    Args:
        folder: where its data, its log and its Unix socket lie.
        options: of its command line, as in ``"--maxmemory", "5mb"``; without any it keeps nothing on disk.
        program: how it is started.
        tls: whether its port speaks TLS alone.
    """

    def __init__(
        self, folder: Path, *options: str, program: tuple[str, ...] = ("redis-server",), tls: bool = False
    ) -> None:
        self.folder = folder
        self.options = list(options)
        self.program = program
        self.tls = tls
        self.port = free_port()
        self.socket = folder / f"{self.port}.sock"
        self.log = folder / f"{self.port}.log"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def place(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """Its database 0."""
        return f"redis://{self.place}/0"

    def start(self, *, wait: bool = True) -> None:
        """Start it, and wait until it takes connections."""
        command = [*self.program, "--bind", "127.0.0.1", "--dir", str(self.folder)]
        command += ["--port", "0", "--tls-port", str(self.port)] if self.tls else ["--port", str(self.port)]
        command += ["--unixsocket", str(self.socket), "--logfile", str(self.log), "--save", "", *self.options]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + 10
        while wait:
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=1) as made:
                    made.sendall(b"PING\r\n")
                    if self.tls or made.recv(100).startswith((b"+PONG", b"-NOAUTH", b"-ERR max number")):
                        return
            except OSError:
                pass  # not yet
            said = self.log.read_text() if self.log.exists() else ""
            assert self.process.poll() is None and time.monotonic() < end, f"the server did not start: {said}"
            time.sleep(0.005)

    def stop(self, number: int = signal.SIGKILL) -> None:
        """End it."""
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(timeout=10)
            self.process = None


_KNOWN = ("master", "replicas")


class SentinelGroup:
    """A master ``mymaster``, its replica, and three sentinels that agree within two seconds that a master is gone.

    Args:
        folder: for their files.
        password: what master and replica ask for; the sentinels ask for ``sentinel-`` and this.
        certificates: to speak TLS everywhere.
    """

    name = "mymaster"

    def __init__(self, folder: Path, password: str = "", certificates: Certificates | None = None) -> None:
        self.password = password
        self.certificates = certificates
        self._ask: tuple[str, ...] = ("redis-cli", "--no-auth-warning")
        options: list[str] = ["--repl-diskless-sync-delay", "0", "--repl-timeout", "10"]
        if certificates is not None:
            own = ("--tls-cert-file", certificates.server, "--tls-key-file", certificates.server_key)
            options += [*own, "--tls-ca-cert-file", certificates.authority, "--tls-auth-clients", "no"]
            options += ["--tls-replication", "yes"]
            self._ask += ("--tls", "--cacert", certificates.authority)
        secrets = ["--requirepass", password, "--masterauth", password] if password else []
        tls = certificates is not None
        self.servers = [RedisServer(folder, *options, *secrets, tls=tls) for _ in range(2)]
        self.sentinels = []
        for number in range(3):
            file = folder / f"sentinel{number}.conf"
            lines = [f"sentinel monitor {self.name} 127.0.0.1 {self.servers[0].port} 2"]
            lines += [
                f"sentinel down-after-milliseconds {self.name} 1000",
                f"sentinel failover-timeout {self.name} 2000",
            ]
            if password:
                lines += [f"sentinel auth-pass {self.name} {password}", f"requirepass sentinel-{password}"]
                lines += [f"sentinel sentinel-pass sentinel-{password}"]
            file.write_text("\n".join(lines) + "\n")
            program = ("redis-server", str(file), "--sentinel")
            kept = [each for each in options if "repl-" not in each and each not in ("0", "10")]
            self.sentinels.append(RedisServer(folder, *kept, program=program, tls=tls))
        self.everyone = [*self.servers, *self.sentinels]

    @property
    def url(self) -> str:
        """The sentinels, and the master's password."""
        who = f":{self.password}@" if self.password else ""
        return ";".join(f"sentinel://{who}{each.place}" for each in self.sentinels)

    def ask(self, server: RedisServer, *command: str) -> str:
        """What one of them answers."""
        secret = f"sentinel-{self.password}" if server in self.sentinels else self.password
        who = ("-a", secret) if self.password else ()
        done = subprocess.run([*self._ask, "-p", str(server.port), *who, *command], capture_output=True, text=True)
        return done.stdout

    def start(self) -> None:
        """Start them all, and wait until each knows the others."""
        for server in self.servers:
            server.start()
        follow = ("replicaof", "127.0.0.1", str(self.servers[0].port))
        self.wait(lambda: self.ask(self.servers[1], *follow).startswith("OK"), "the replica does not follow")
        for server in self.sentinels:
            server.start()
            self._set_pace(server, "info-period", 100, "ask-period", 100, "publish-period", 100)
        said: list[str] = []

        def complete() -> bool:
            said[:] = [self.ask(each, "sentinel", kind, self.name) for each in self.sentinels for kind in _KNOWN]
            return all(map(self._complete, said[::2], said[1::2]))

        try:
            self.wait(complete, "the sentinels did not find each other")
        except AssertionError as error:
            raise AssertionError("\n".join((str(error), *said, *self._logs()))) from error
        for server in self.sentinels:
            # Within four periods the leader of a failover has to see that the replica is the master now; afterwards the
            # others make it a replica again.
            self._set_pace(server, "publish-period", 2000)

    def _set_pace(self, server: RedisServer, *milliseconds: str | int) -> None:
        """How often a sentinel does what, by Redis's names for it."""
        words = ("sentinel", "debug", *map(str, milliseconds))
        self.wait(lambda: "OK" in self.ask(server, *words), "a sentinel refuses")

    def _logs(self) -> list[str]:
        return [each.log.read_text()[-2000:] for each in self.everyone]

    @property
    def epoch(self) -> int:
        """Grows with each new master."""
        return int(_pairs(self.ask(self.sentinels[0], "sentinel", "master", self.name)).get("config-epoch", "0"))

    def fail_over(self) -> None:
        """Have the sentinels choose another master. They give up when the machine is too slow for them: ask again."""
        before = self.epoch

        def done() -> bool:
            if self.epoch > before:
                return self.master() is not None
            self.ask(self.sentinels[0], "sentinel", "failover", self.name)
            return False

        try:
            self.wait(done, "no failover")
        except AssertionError as error:
            raise AssertionError("\n".join((str(error), *self._logs()))) from error

    def _complete(self, master: str, replicas: str) -> bool:
        said = _pairs(master)
        if "master-link-status\nok\n" not in replicas:
            return False  # it has nothing yet, so it could not be the next master
        return (said.get("num-slaves"), said.get("num-other-sentinels"), said.get("flags")) == ("1", "2", "master")

    def master(self) -> RedisServer | None:
        """The server that the sentinels name and that says so itself."""
        port = (self.ask(self.sentinels[0], "sentinel", "get-master-addr-by-name", self.name).split() or [""])[-1]
        found = next((each for each in self.servers if str(each.port) == port and each.process is not None), None)
        return found if found is not None and self.ask(found, "role").startswith("master") else None

    def wait(self, done: Callable[[], Any], what: str) -> None:
        """Wait for a condition."""
        end = time.monotonic() + 40
        while not done():
            assert time.monotonic() < end, what
            time.sleep(0.05)

    def stop(self) -> None:
        """End them all."""
        for server in self.everyone:
            server.stop()


def _pairs(answer: str) -> dict[str, str]:
    words = answer.split("\n")
    return dict(zip(words[::2], words[1::2], strict=False))


def free_port() -> int:
    """A port that nobody listened to a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _need_redis_server() -> None:
    if shutil.which("redis-server") is None:
        said = "redis-server is not installed"
        if "redis" in os.environ.get("UMBEL_REQUIRE_SERVICES", "").split(","):
            pytest.fail(said)
        pytest.skip(said)


def _there(name: str, url: str, default_port: int) -> str:
    parts = urlsplit(url)
    try:
        socket.create_connection((parts.hostname or "127.0.0.1", parts.port or default_port), timeout=2).close()
    except OSError as error:
        said = f"{name} is not reachable at {parts.hostname}:{parts.port or default_port}: {error}"
        if name in os.environ.get("UMBEL_REQUIRE_SERVICES", "").split(","):
            pytest.fail(said)
        pytest.skip(said)
    return url


@pytest.fixture(scope="session")
def redis_url() -> str:
    """A Redis database that tests may fill; each test uses names of its own and cleans them up."""
    return _there("redis", REDIS_URL, 6379)


@pytest.fixture(scope="session")
def amqp_url() -> str:
    """A RabbitMQ virtual host that tests may fill; each test uses names of its own and cleans them up."""
    return _there("rabbitmq", AMQP_URL, 5672)


@pytest.fixture
def start_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., RedisServer]]:
    """Starts Redis servers of this test's own; the arguments are those of ``RedisServer`` but for the folder."""
    _need_redis_server()
    started: list[RedisServer] = []

    def start(*options: str, wait: bool = True, **more: Any) -> RedisServer:
        server = RedisServer(tmp_path_factory.mktemp("redis"), *options, **more)
        started.append(server)
        server.start(wait=wait)
        return server

    yield start
    for server in started:
        server.stop()


@pytest.fixture
def redis_server(start_redis: Callable[..., RedisServer]) -> RedisServer:
    """A Redis server of this test's own that keeps nothing on disk."""
    return start_redis()


@pytest.fixture
def start_sentinels(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., SentinelGroup]]:
    """Starts groups of this test's own; the arguments are those of ``SentinelGroup`` but for the folder."""
    _need_redis_server()
    started: list[SentinelGroup] = []

    def start(**options: Any) -> SentinelGroup:
        group = SentinelGroup(tmp_path_factory.mktemp("sentinels"), **options)
        started.append(group)
        group.start()
        return group

    yield start
    for group in started:
        group.stop()


class Certificates:
    """An authority of a test's own, and what it has signed. The attributes are paths of PEM files.

    Attributes:
        authority: the certificate to trust.
        server, server_key: of ``localhost`` and ``127.0.0.1``.
        client, client_key: of a client.
        stranger: the certificate of another authority.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        usage = "keyUsage=critical,keyCertSign,digitalSignature"  # which Python asks for from 3.13 on
        self.authority, self._authority_key = self._make("authority", "/CN=authority", "-addext", usage)
        self.stranger, _ = self._make("stranger", "/CN=stranger", "-addext", usage)
        signed = ("-CA", self.authority, "-CAkey", self._authority_key)
        names = "subjectAltName=DNS:localhost,IP:127.0.0.1"
        self.server, self.server_key = self._make("server", "/CN=server", "-addext", usage, "-addext", names, *signed)
        self.client, self.client_key = self._make("client", "/CN=client", "-addext", usage, *signed)

    def _make(self, name: str, subject: str, *more: str) -> tuple[str, str]:
        certificate, key = str(self._folder / f"{name}.pem"), str(self._folder / f"{name}.key")
        made = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
        command = ["openssl", "req", "-x509", *made, "-subj", subject, "-out", certificate, "-keyout", key, *more]
        subprocess.run(command, check=True, capture_output=True)
        return certificate, key


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Certificates for tests of TLS, made by the program openssl (3.0 or later)."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    return Certificates(tmp_path_factory.mktemp("certificates"))
