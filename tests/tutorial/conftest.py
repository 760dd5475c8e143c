"""Runs a page of the docs: writes its programs, starts its workers, and types its sessions."""

from __future__ import annotations

import doctest
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import redis

from umbel import Umbel

ROOT = Path(__file__).resolve().parents[2]
UMBEL = str(Path(sys.executable).with_name("umbel"))
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_FILE = re.compile(r"`([\w./]+\.py)`:\s*\Z")
_FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@dataclass
class Block:
    """A fenced block of a page.

    Attributes:
        section: the heading of the second level that it stands under.
        language: what follows the fence.
        file: the name of the file that it is, as the line before says; empty when it is none.
    """

    section: str
    language: str
    text: str
    file: str
    line: int


def blocks(page: Path) -> list[Block]:
    """All fenced blocks of a page."""
    text = page.read_text("utf-8")
    found = []
    for match in _BLOCK.finditer(text):
        before = text[: match.start()]
        sections = re.findall(r"^## (.*)$", before, re.MULTILINE)
        file = _FILE.search(before)
        found.append(
            Block(
                sections[-1] if sections else "",
                match[1],
                match[2],
                file[1] if file else "",
                before.count("\n") + 1,
            )
        )
    return found


@dataclass
class Reader:
    """A person in a folder who does what a page says.

    Attributes:
        folder: where.
        change: what they write otherwise, such as the name of a server.
        run: the programs, commands and sessions that were run, for counting.
    """

    folder: Path
    change: Callable[[str], str] = lambda text: text
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)
    run: list[str] = field(default_factory=list)
    session: list[str] = field(default_factory=list)

    def follow(self, found: list[Block]) -> None:
        """Do all of this, in order."""
        for block in found:
            if block.language == "pycon":
                above = block.line - sum(each.count("\n") for each in self.session)
                self.session.append("\n" * above + self.change(block.text))
                continue
            self.type_session()
            if block.file:
                path = self.folder / block.file
                path.parent.mkdir(exist_ok=True)
                if path.parent != self.folder:
                    (path.parent / "__init__.py").touch()
                path.write_text(self.change(block.text))
                self.run.append(block.file)
            elif block.language == "console":
                self.type_commands(block)
        self.type_session()

    def type_session(self) -> None:
        """Type what has gathered into a Python of its own."""
        if not self.session:
            return
        (self.folder / "session.txt").write_text("".join(self.session))
        program = f"import doctest, sys; sys.exit(doctest.testfile('session.txt', False, optionflags={_FLAGS}).failed)"
        done = subprocess.run(
            [sys.executable, "-c", program], cwd=self.folder, capture_output=True, text=True, timeout=90, check=False
        )
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{self.log()[-3000:]}"
        self.run.append(f"session of {sum(each.count('>>>') for each in self.session)} lines")
        self.session.clear()

    def type_commands(self, block: Block) -> None:
        """Type the commands after each ``$``, and compare what they print with what follows there."""
        for part in re.split(r"^\$ ", self.change(block.text), flags=re.MULTILINE)[1:]:
            line, _, wanted = part.partition("\n")
            command = shlex.split(line)
            if command[0] == "pip":
                continue
            assert command[0] == "umbel", line
            self.run.append(line)
            if "worker" in command:
                self.start_worker(command[1:])
                continue
            done = subprocess.run(
                [UMBEL, *command[1:]], cwd=self.folder, capture_output=True, text=True, timeout=60, check=False
            )
            assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
            same = doctest.OutputChecker().check_output(wanted, done.stdout, _FLAGS)
            assert same, f"{line} was to print\n{wanted}and printed\n{done.stdout}"

    def start_worker(self, arguments: list[str]) -> None:
        """End the worker that runs, and start another one."""
        self.stop()
        begun = len(self.log())
        with (self.folder / "log").open("ab") as log:
            self.workers.append(subprocess.Popen([UMBEL, *arguments], cwd=self.folder, stdout=log, stderr=log))
        end = time.monotonic() + 30
        while " ready." not in self.log()[begun:]:
            assert time.monotonic() < end and self.workers[-1].poll() is None, self.log()
            time.sleep(0.02)

    def stop(self) -> None:
        """End the workers as Ctrl-C does not: by SIGTERM; they end in good order."""
        while self.workers:
            worker = self.workers.pop()
            worker.terminate()
            try:
                assert worker.wait(20) == 0, self.log()[-3000:]
            finally:
                if worker.poll() is None:
                    worker.kill()
                    worker.wait()

    def log(self) -> str:
        """What the workers have said."""
        path = self.folder / "log"
        return path.read_text() if path.exists() else ""


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    """Somebody in an empty folder; their workers end with the test."""
    made = Reader(tmp_path)
    yield made
    made.stop()


@pytest.fixture(scope="session")
def page() -> Callable[[str], list[Block]]:
    """The blocks of a page of the docs by its name."""
    return lambda name: blocks(ROOT / "docs" / name)


@pytest.fixture
def own_redis(claim_redis: Callable[[str], AbstractContextManager[redis.Redis]]) -> Iterator[str]:
    """A Redis database that was empty; it is emptied in the end."""
    with claim_redis("tutorial-claim") as client:
        yield client.get("tutorial-claim").decode()


@pytest.fixture
def app(own_redis: str, make_current: Callable[[Umbel], Umbel]) -> Umbel:
    """An app on Redis, the current one, for the names that a guide's examples use."""
    return make_current(Umbel("proj", broker=own_redis, backend=own_redis, set_as_current=False))
