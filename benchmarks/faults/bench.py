"""What a scenario runs in: one contender on one broker. Whatever it starts is ended when the bench is left."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import amqp
import redis
from harness.failure import Failure
from harness.settings import FOLDER

from faults.journal import Journal
from faults.proxy import Proxy
from faults.scenario import Ended, Figures, Server
from faults.worker import Program, Worker, quietly

SEND_TIMEOUT = 120.0
PATIENCE = 45.0
"""Seconds without any news of tasks after which nothing more is waited for: four times Celery's visibility timeout."""
LONGEST = 240.0
"""Seconds that tasks are waited for at most."""


class Bench:
    """See `faults.scenario.Bench`. Use it as a context."""

    def __init__(
        self, contender: str, broker: str, server: Server, *, results: str, logs: Path, label: str, short: bool
    ) -> None:
        self.contender = contender
        self.broker = broker
        self.server = server
        self.short = short
        self.results = results
        self.queue = f"faults-{os.getpid():x}-{contender}-{label}"
        self.folder = Path(tempfile.mkdtemp(prefix="faults-"))
        self.logs = logs
        self.label = f"{label}-{contender}-{broker}"
        logs.mkdir(parents=True, exist_ok=True)
        self.journal = Journal(self.folder / "journal")
        self._workers: list[Worker] = []
        self._programs: list[Program] = []
        self._proxies: list[Proxy] = []
        self._connections: list[Any] = []
        self._publishers = 0

    @property
    def url(self) -> str:
        return self.server.url

    def __enter__(self) -> Bench:
        return self

    def __exit__(self, *_: object) -> None:
        for program in self._programs:
            with quietly():
                program.kill()
        for worker in self._workers:
            with quietly():
                worker.stop(timeout=5.0)
        for connection in self._connections:
            with contextlib.suppress(Exception):
                connection.close()
        for proxy in self._proxies:
            with quietly():
                proxy.close()
        self.journal.close()
        self._sweep()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _sweep(self) -> None:
        """Take away what the tasks left in a user's server. A private one goes with all that it holds."""
        if self.server.private:
            return
        with contextlib.suppress(Exception):
            if self.broker == "redis":
                for key in self.redis().scan_iter(match=f"*{self.queue}*", count=1000):
                    self.redis().delete(key)
            else:
                channel = self.channel()
                channel.queue_delete(self.queue)
                channel.exchange_delete(self.queue)
                self._connections[-1].close()

    def environment(self, url: str | None = None, settings: Mapping[str, Any] | None = None) -> dict[str, str]:
        """What every process of the contender is started with."""
        plain = {k: v for k, v in os.environ.items() if not k.startswith(("CELERY_", "UMBEL_", "FAULTS_"))}
        return plain | {
            "FAULTS_CONTENDER": self.contender,
            "FAULTS_BROKER": self.broker,
            "FAULTS_URL": url or self.url,
            "FAULTS_RESULTS": self.results,
            "FAULTS_QUEUE": self.queue,
            "FAULTS_JOURNAL": str(self.journal.path),
            "FAULTS_SETTINGS": json.dumps(dict(settings or {})),
            "PYTHONPATH": str(FOLDER),
            "PYTHONWARNINGS": "ignore",
            "PYTHONUNBUFFERED": "1",
            "NO_COLOR": "1",
        }

    def worker(
        self,
        name: str = "w1",
        *,
        pool: str = "prefork",
        concurrency: int = 2,
        url: str | None = None,
        settings: Mapping[str, Any] | None = None,
        start: bool = True,
    ) -> Worker:
        log = self.logs / f"{self.label}-{name}.log"
        log.unlink(missing_ok=True)
        made = Worker(
            self.contender,
            name,
            log=log,
            environment=self.environment(url, settings),
            pool=pool,
            concurrency=concurrency,
            queue=self.queue,
            journal=self.journal,
        )
        self._workers.append(made)
        if start:
            made.start()
        return made

    def send(self, count: int = 1, task: str = "note", *arguments: Any, url: str | None = None) -> list[str]:
        ended = self.program("send", task, str(count), json.dumps(arguments), timeout=SEND_TIMEOUT, url=url)
        ids = ended.out.split()
        if ended.code != 0 or len(ids) != count:
            said = "\n".join(ended.err.splitlines()[-12:])
            raise Failure(f"{self.contender}: {len(ids)} of {count} tasks were sent\n{said}")
        return ids

    def program(
        self,
        module: str,
        *arguments: str,
        timeout: float = 60.0,
        url: str | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> Ended:
        began = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, "-m", f"faults.programs.{module}", *arguments],
            cwd=FOLDER,
            env=self.environment(url, settings),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            text=True,
        )
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            self._end_group(process)
            out, err = process.communicate()
            return Ended(None, time.monotonic() - began, out, err)
        except BaseException:
            self._end_group(process)
            process.wait()
            raise
        return Ended(process.returncode, time.monotonic() - began, out, err)

    @staticmethod
    def _end_group(process: subprocess.Popen[str]) -> None:
        """SIGKILL to a program and to what it has forked, which share a session that this bench made."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 9)

    def publisher(self, rate: float, seconds: float, *, url: str | None = None) -> Publisher:
        """A client that goes on publishing `note(seconds)` so many times a second, whatever happens."""
        self._publishers += 1
        made = Publisher(self, self.folder / f"published-{self._publishers}", rate, seconds, url)
        self._programs.append(made.program)
        return made

    def proxy(self) -> tuple[Proxy, str]:
        """A proxy before the server, and the URL that leads through it."""
        parts = urlsplit(self.url)
        made = Proxy((parts.hostname or "127.0.0.1", parts.port or (6379 if self.broker == "redis" else 5672)))
        self._proxies.append(made)
        user = parts.netloc.rpartition("@")
        url = urlunsplit(parts._replace(netloc=f"{user[0]}{user[1]}127.0.0.1:{made.port}"))
        # urlunsplit writes amqp://host// with one slash less.
        return made, url + "/" * (len(self.url) - len(self.url.rstrip("/")) - (len(url) - len(url.rstrip("/"))))

    def wait(self, until: Callable[[], object], seconds: float) -> bool:
        end = time.monotonic() + seconds
        while not until():
            if time.monotonic() > end:
                return False
            time.sleep(0.02)
        return True

    def finish(self, ids: Collection[str], *, patience: float | None = None) -> None:
        """Wait until all of these have run, or until nothing more comes: then what is missing is lost."""
        patience = patience or (20.0 if self.short and self.contender == "umbel" else PATIENCE)
        wanted, begin = set(ids), time.monotonic()
        while wanted - self.journal.ended():
            now = time.monotonic()
            if now - max(self.journal.last, begin) > patience or now - begin > LONGEST:
                return
            time.sleep(0.1)

    def linger(self) -> None:
        """Wait for runs that should not come: of tasks that are done."""
        time.sleep(1.0 if self.short else 13.0)

    def count(self, ids: Iterable[str]) -> Figures:
        return self.journal.count(ids)

    def redis(self) -> Any:
        # Longer than redis-py's own limit: a scenario may put tens of megabytes into a busy server.
        return redis.Redis.from_url(self.url, socket_timeout=60.0)

    def channel(self) -> Any:
        parts = urlsplit(self.url)
        connection = amqp.Connection(
            f"{parts.hostname or '127.0.0.1'}:{parts.port or 5672}",
            userid=parts.username or "guest",
            password=parts.password or "guest",
            virtual_host=parts.path[1:].replace("%2F", "/") or "/",
            connect_timeout=5.0,
        )
        connection.connect()
        self._connections.append(connection)
        return connection.channel()


class Publisher:
    """A client in a process of its own, and what it has noted of each attempt."""

    def __init__(self, bench: Bench, path: Path, rate: float, seconds: float, url: str | None) -> None:
        self._path = path
        self._log = bench.logs / f"{bench.label}-{path.name}.log"
        path.touch()
        with open(self._log, "wb") as log:
            self.program = Program(
                [sys.executable, "-m", "faults.programs.publish", str(path), str(rate), str(seconds)],
                bench.environment(url),
                log,
            )

    def attempts(self) -> list[dict[str, Any]]:
        """All attempts: `id`, `at`, and once the call has come back `taken`, `took` and `raised`."""
        found: dict[str, dict[str, Any]] = {}
        for line in self._path.read_text().splitlines():
            try:
                said = json.loads(line)
            except ValueError:
                continue  # its process was killed while it wrote
            found[said["id"]] = said
        return list(found.values())

    def taken(self) -> list[str]:
        """The ids of the tasks that it was told are accepted."""
        return [each["id"] for each in self.attempts() if each.get("taken")]

    def finish(self, timeout: float = 20.0) -> bool:
        """End it. Whether it ended by itself, so that it did not hang."""
        return self.program.finish(timeout)
