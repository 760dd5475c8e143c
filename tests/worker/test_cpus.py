"""How many processors a worker may use, read from trees as Linux shows them."""

from __future__ import annotations

from pathlib import Path

import pytest

from umbel.worker import cpus
from umbel.worker.cpus import allowed


def _tree(root: Path, groups: str, **files: str) -> Path:
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(groups)
    for name, text in files.items():
        path = root / "sys/fs/cgroup" / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.fixture(autouse=True)
def many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpus, "cpu_count", lambda: 16)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("max 100000\n", 16), ("200000 100000\n", 2), ("250000 100000\n", 3), ("50000 100000\n", 1),
        ("100 100000\n", 1), ("9900000 100000\n", 16), ("", 16), ("rubbish", 16), ("100000 0\n", 16),
    ],
)  # fmt: skip
def test_a_quota_of_version_2(tmp_path: Path, text: str, expected: int) -> None:
    assert allowed(_tree(tmp_path, "0::/\n", cpu_dot_max=text)) == expected


def test_the_smallest_of_a_group_and_those_above_it(tmp_path: Path) -> None:
    files = {"a__cpu_dot_max": "300000 100000\n", "a__b__cpu_dot_max": "max 100000\n", "cpu_dot_max": "800000 100000\n"}
    assert allowed(_tree(tmp_path, "0::/a/b\n", **files)) == 3


def test_a_container_sees_its_group_at_the_top(tmp_path: Path) -> None:
    assert allowed(_tree(tmp_path, "0::/docker/0123\n", cpu_dot_max="400000 100000\n")) == 4


@pytest.mark.parametrize("folder", ["cpu", "cpu,cpuacct"])
@pytest.mark.parametrize(("quota", "expected"), [("-1", 16), ("150000", 2), ("0", 16), ("x", 16)])
def test_a_quota_of_version_1(tmp_path: Path, folder: str, quota: str, expected: int) -> None:
    files = {f"{folder}__docker__cpu_dot_cfs_quota_us": quota, f"{folder}__docker__cpu_dot_cfs_period_us": "100000"}
    groups = "12:memory:/docker\n4:cpu,cpuacct:/docker\n1:name=systemd:/docker\n"
    assert allowed(_tree(tmp_path, groups, **files)) == expected


def test_both_versions_mounted(tmp_path: Path) -> None:
    files = {"unified__x__cpu_dot_max": "600000 100000"}
    assert allowed(_tree(tmp_path, "4:cpu:/x\n0::/x\n", **files)) == 6


def test_a_system_without_control_groups(tmp_path: Path) -> None:
    assert allowed(tmp_path) == 16


def test_here() -> None:
    assert 1 <= allowed() <= 16
