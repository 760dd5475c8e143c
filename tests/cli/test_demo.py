"""``umbel demo``, checked against a plain count."""

from __future__ import annotations

import ast
import json
import os
import re
import signal
import sysconfig
import time
import warnings
from collections import Counter
from pathlib import Path

import pytest
import redis

from tests.cli.conftest import Run, Start
from umbel.cli.demo import library

ROOT = Path(sysconfig.get_path("stdlib"))


def plain_count(limit: int | None) -> dict[str, object]:
    """The same numbers by one process and the textbook's ways."""
    paths = sorted(
        str(path.relative_to(ROOT))
        for path in ROOT.rglob("*.py")
        if not {"site-packages", "dist-packages"} & set(path.parts[len(ROOT.parts) :])
        and path.resolve().is_relative_to(ROOT.resolve())
    )[:limit]
    lines = classes = functions = unparsed = 0
    names: Counter[str] = Counter()
    for path in paths:
        with open(ROOT / path, "rb") as file:
            lines += sum(1 for _ in file)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                tree = ast.parse((ROOT / path).read_bytes())
        except (SyntaxError, ValueError):
            unparsed += 1
            continue
        nodes = list(ast.walk(tree))
        classes += sum(isinstance(node, ast.ClassDef) for node in nodes)
        functions += sum(isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) for node in nodes)
        names.update(node.id for node in nodes if isinstance(node, ast.Name))
    return {
        "files": len(paths),
        "lines": lines,
        "classes": classes,
        "functions": functions,
        "distinct_names": len(names),
        "unparsed": unparsed,
        "most": sorted(names.values(), reverse=True)[:10],
    }


def check(found: dict[str, object], expected: dict[str, object]) -> None:
    assert isinstance(found["names"], list) and isinstance(found["unparsed"], list)
    shown = {**found, "unparsed": len(found["unparsed"]), "most": [times for _, times in found["names"]]}
    assert {key: shown[key] for key in expected} == expected


def test_its_totals_are_those_of_a_plain_count(run: Run, tmp_path: Path) -> None:
    # A user's environment that points elsewhere does not matter to it.
    done = run(
        "demo", "--files", "60", "-c", "2", "--json", "--keep", "kept",
        CELERY_BROKER_URL="redis://nowhere.invalid", CELERY_RESULT_BACKEND="redis://nowhere.invalid",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    check(json.loads(done.stdout), plain_count(60))
    log = (tmp_path / "kept" / "worker.log").read_text()
    assert log.count("umbel.cli.demo.tasks.count[") == 2 * 60
    assert "concurrency: 2 (prefork)" in log
    assert "Warm shutdown" in log


@pytest.mark.slow
def test_its_totals_over_the_whole_library(run: Run) -> None:
    done = run("demo", "--json")
    assert done.returncode == 0, done.stderr
    check(json.loads(done.stdout), plain_count(None))


def test_what_a_person_sees(run: Run, tmp_path: Path) -> None:
    done = run("demo", "--files", "5", TMPDIR=str(tmp_path))
    assert done.returncode == 0, done.stderr
    for text in ("umbel demo", "5 source files", "5/5", "Most used names", "Slowest tasks", "What ran: chord("):
        assert text in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_it_runs_over_redis_and_leaves_nothing(run: Run, redis_url: str, tmp_path: Path) -> None:
    words = ("--broker", redis_url, "--backend", redis_url, "--keep", "kept")
    done = run("demo", "--files", "5", "--json", *words)
    assert done.returncode == 0, done.stderr
    check(json.loads(done.stdout), plain_count(5))
    log = (tmp_path / "kept" / "worker.log").read_text()
    ids = set(re.findall(r"Task umbel\.cli\.demo\.tasks\.\w+\[([0-9a-f-]{36})\] succeeded", log))
    queue = re.search(r"umbel-demo-[0-9a-f]{8}", log)
    assert len(ids) == 6 and queue is not None
    with redis.Redis.from_url(redis_url) as client:
        assert not [key for key in client.scan_iter("*") if queue[0].encode() in key]
        assert client.exists(*(f"celery-task-meta-{task_id}" for task_id in ids)) == 0


def test_a_worker_that_cannot_start_is_told_with_its_log(run: Run, tmp_path: Path) -> None:
    done = run("demo", "--files", "5", "--broker", "nosuch://host", TMPDIR=str(tmp_path))
    assert done.returncode == 1
    assert "no broker named 'nosuch' is installed" in done.stderr
    assert "worker.log" in done.stderr
    assert "Traceback" not in done.stderr


def workers_of(folder: Path) -> list[int]:
    """The processes that run in a folder."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                if Path(os.readlink(process / "cwd")).is_relative_to(folder):
                    found.append(int(process.name))
            except OSError:
                continue
    return found


@pytest.mark.skipif(not Path("/proc/self/cwd").exists(), reason="finds processes by /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_cleanly_when_it_is_interrupted(start: Start, tmp_path: Path, number: signal.Signals) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    demo = start("demo", TMPDIR=str(temporary))
    deadline = time.monotonic() + 30
    while not workers_of(temporary):
        assert time.monotonic() < deadline and demo.poll() is None
        time.sleep(0.02)
    demo.send_signal(number)
    said, _ = demo.communicate(timeout=30)
    assert demo.returncode == {signal.SIGINT: 130, signal.SIGTERM: 143}[number], said
    assert "The demo was ended, and its worker with it." in said
    assert "Traceback" not in said
    deadline = time.monotonic() + 5  # a worker that was just about to start ends before the process that it has begun
    while workers_of(temporary):
        assert time.monotonic() < deadline, "a process of the worker is left"
        time.sleep(0.02)
    assert list(temporary.iterdir()) == []


def test_a_file_that_is_a_link_to_elsewhere_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "elsewhere.py").touch()
    (tmp_path / "lib" / "real.py").touch()
    (tmp_path / "lib" / "sitecustomize.py").symlink_to(tmp_path / "elsewhere.py")
    monkeypatch.setattr(library, "ROOT", tmp_path / "lib")
    assert library.sources() == ["real.py"]
    with pytest.raises(ValueError, match="no source file"):
        library.read("sitecustomize.py")
