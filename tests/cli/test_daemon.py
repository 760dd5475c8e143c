"""Workers in the background: whose they are, where they write, and who keeps them from starting twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.cli.conftest import Run
from umbel.cli.pidfile import check, pidfile
from umbel.model import node
from umbel_kernel.errors import ConfigurationError

ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another")


def eventually(done: Callable[[], Any], what: str, seconds: float = 30) -> Any:
    """What a condition gives once it holds."""
    end = time.monotonic() + seconds
    while not (found := done()):
        assert time.monotonic() < end, what
        time.sleep(0.02)
    return found


def text(path: Path) -> str:
    return path.read_text() if path.exists() else ""


@pytest.fixture
def reap(tmp_path: Path) -> Iterator[Callable[[Path], psutil.Process]]:
    """The process that a pid file names, ended after the test."""
    found: list[psutil.Process] = []

    def read(path: Path) -> psutil.Process:
        pid = int(eventually(lambda: text(path).strip(), f"no process id in {path}"))
        found.append(psutil.Process(pid))
        return found[-1]

    yield read
    for process in found:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue


def test_it_goes_to_the_background_and_ends_in_good_order(run: Run, reap: Any, project: Path) -> None:
    log = project / "celery.log"
    done = run("-A", "proj", "worker", "-D", "-c", "1", "-l", "INFO", "--pidfile", "%n.pid", "--logfile", "%n%I.log")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    process = reap(project / "celery.pid")
    eventually(lambda: "ready." in text(log), "it is not ready")
    assert os.getsid(process.pid) != os.getsid(0)
    assert process.cwd() == str(project)
    assert {os.readlink(f"/proc/{process.pid}/fd/{file}") for file in (0, 1, 2)} == {"/dev/null", str(log)}
    called = run("-A", "proj", "call", "proj.add", "-a", "[2, 3]", "--wait", "20")
    assert called.stdout.split()[1] == "5"
    again = run("-A", "proj", "worker", "-D", "--pidfile", "celery.pid")
    assert again.returncode == 1
    assert f"names process {process.pid}, which runs" in again.stderr
    process.send_signal(signal.SIGTERM)
    process.wait(30)
    assert not (project / "celery.pid").exists()
    assert "Warm shutdown" in text(log)


def test_each_process_of_the_pool_has_a_log_of_its_own(run: Run, reap: Any, project: Path) -> None:
    (project / "proj.py").write_text(
        (project / "proj.py").read_text()
        + "\nimport logging\n\n@app.task\ndef speak():\n"
        + "    logging.getLogger('proj').warning('spoken')\n    print('printed')\n"
    )
    done = run("-A", "proj", "worker", "-D", "-c", "1", "-l", "INFO", "--pidfile", "w.pid", "--logfile", "%n%I-%i.log")
    assert done.returncode == 0, done.stderr
    reap(project / "w.pid")
    eventually(lambda: "ready." in text(project / "celery-0.log"), "it is not ready")
    run("-A", "proj", "call", "proj.speak", "--wait", "20")
    own = eventually(lambda: text(project / "celery-1-1.log"), "no log of the process")
    assert "spoken" in own
    assert "printed" in own
    assert "spoken" not in text(project / "celery-0.log")


def test_what_cannot_begin_is_told_before_it_leaves(run: Run, project: Path) -> None:
    done = run("-A", "proj", "worker", "-D", "--logfile", "/nowhere/at/all.log")
    assert done.returncode == 1
    assert "cannot write the log file '/nowhere/at/all.log'" in done.stderr
    done = run("-A", "proj", "worker", "-D", "--executable", "/nowhere/python")
    assert done.returncode == 1
    assert "cannot go to the background: FileNotFoundError" in done.stderr


@pytest.mark.slow
def test_celerys_way_to_stay_in_the_foreground(start: Any, project: Path) -> None:
    worker = start("-A", "proj", "worker", "-D", "-c", "1", "--pidfile", "w.pid", C_FAKEFORK="1")
    eventually(lambda: text(project / "w.pid").strip() == str(worker.pid), "it has left")


BECOME = """
import os, sys
from umbel.cli.identity import become
os.setgroups([1, 2, 3])
for _ in range(2):  # a worker that starts anew is that user already
    become(*(word or None for word in sys.argv[1:]))
print(os.getresuid(), os.getresgid(), os.getgroups())
try:
    os.setuid(0)
except PermissionError:
    print("for good")
"""


@ROOT
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("65534", ""), "(65534, 65534, 65534) (65534, 65534, 65534) []\nfor good\n"),
        (("nobody", "daemon"), "(65534, 65534, 65534) (1, 1, 1) []\nfor good\n"),
        (("123456", "7"), "(123456, 123456, 123456) (7, 7, 7) []\nfor good\n"),
        (("", "7"), "(0, 0, 0) (7, 7, 7) []\n"),
        (("", ""), "(0, 0, 0) (0, 0, 0) [1, 2, 3]\n"),
    ],
    ids=str,
)
def test_it_becomes_another_and_leaves_all_groups(words: tuple[str, str], said: str) -> None:
    done = subprocess.run([sys.executable, "-c", BECOME, *words], capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    assert done.stdout == said


@pytest.mark.slow
def test_new_files_have_the_permissions_that_were_asked_for(start: Any, project: Path) -> None:
    worker = start(
        "-A", "proj", "worker", "-c", "1", "-l", "INFO", "--umask", "027", "-f", "w.log", "--pidfile", "w.pid"
    )
    eventually(lambda: "ready." in text(project / "w.log"), "it is not ready")
    assert [(project / name).stat().st_mode & 0o777 for name in ("w.log", "w.pid")] == [0o640, 0o640]
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(30) == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--uid", "nobody-of-this-name"), "there is no user 'nobody-of-this-name'"),
        (("--gid", "nogroup-of-this-name"), "there is no group 'nogroup-of-this-name'"),
        (("--umask", "9"), "is no octal number"),
        pytest.param(("--uid", "123456"), "give --gid", marks=ROOT),
    ],
)
def test_whom_there_is_not(run: Run, project: Path, words: tuple[str, str], said: str) -> None:
    done = run("-A", "proj", "worker", *words)
    assert done.returncode in (1, 2)
    assert said in done.stderr


def test_names_of_files() -> None:
    expanded = node.expand("%h|%n|%d|%p|%i|%I|%%|%x", "w1@ex.example.com", index=2)
    assert expanded == "ex.example.com|w1|example.com|w1@ex.example.com|2|-2|%|%x"
    assert node.expand("%n%I", "w1@h", index=0) == "w1"
    assert node.expand("%i") == "0"


# The pid file


def test_a_pid_file_of_a_process_that_is_gone_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    path.write_text(f"{gone.pid}\n")
    with pidfile(str(path)):
        assert int(path.read_text()) == os.getpid()
    assert not path.exists()


def test_a_number_that_was_given_away_since_is_no_worker(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    path.write_text(f"{other.pid}\n")
    with pytest.raises(ConfigurationError, match=f"names process {other.pid}, which runs"):
        check(str(path))
    os.utime(path, (0, 0))
    check(str(path))
    assert int(path.read_text()) == other.pid  # looked at, not taken
    other.communicate(b"\n")


def test_of_many_that_start_at_once_one_gets_it(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    path.write_text("999999999\n")
    program = (
        "import sys, time\nfrom umbel.cli.pidfile import pidfile\n"
        "with pidfile(sys.argv[1]):\n    print('has it', flush=True)\n    sys.stdin.read()\n"
    )
    all_of_them = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(path)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for _ in range(6)
    ]  # fmt: skip
    eventually(lambda: sum(each.poll() is None for each in all_of_them) == 1, "not just one is left")
    winner = next(each for each in all_of_them if each.poll() is None)
    assert int(path.read_text()) == winner.pid
    said = [each.communicate(timeout=20) for each in all_of_them]
    assert sum(b"has it" in out for out, _ in said) == 1
    assert sum(b"which runs" in err for _, err in said) == 5


def test_a_file_that_is_no_pid_file_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes"
    path.write_text("dear diary")
    with pytest.raises(ConfigurationError, match="is no pid file"), pidfile(str(path)):
        pass
    assert path.read_text() == "dear diary"
    check(str(tmp_path / "new"))
    assert not (tmp_path / "new").exists()


def test_where_it_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot write the pid file"):
        check(str(tmp_path / "nowhere" / "pid"))
