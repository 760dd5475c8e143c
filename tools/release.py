"""Build the wheels of every distribution into a folder, as an index takes them: they ask for one another by version.

Run it as ``uv run tools/release.py [folder]``; the folder is ``dist`` unless given, and is emptied of wheels before.
"""

from __future__ import annotations

import email
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def build(into: Path) -> list[Path]:
    """Build every member of the workspace.

    Raises:
        SystemExit: uv is missing, or a build failed.
    """
    uv = os.environ.get("UV") or shutil.which("uv")
    if uv is None:
        raise SystemExit("uv is not on the PATH; pip install uv")
    into.mkdir(parents=True, exist_ok=True)
    for old in into.glob("*.whl"):
        old.unlink()
    done = subprocess.run(
        [uv, "build", "--quiet", "--all-packages", "--wheel", "--out-dir", str(into)],
        cwd=ROOT,
        env={**os.environ, "UMBEL_RELEASE": "1"},
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"uv build ended with status {done.returncode}")
    return sorted(into.glob("*.whl"))


def file_references(wheel: Path) -> list[str]:
    """The requirements of a wheel that name a place instead of a version; an index refuses those."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = email.message_from_bytes(archive.read(name))
    return [need for need in metadata.get_all("Requires-Dist", []) if " @ " in need]


def main() -> None:
    """Build, check and list."""
    into = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "dist"
    wheels = build(into)
    expected = 3 + len(list(ROOT.glob("plugins/*/*/pyproject.toml")))
    if len(wheels) != expected:
        raise SystemExit(f"{len(wheels)} wheels were built, {expected} were expected; see {into}")
    wrong = {wheel.name: found for wheel in wheels if (found := file_references(wheel))}
    if wrong:
        raise SystemExit(f"these wheels ask for a folder instead of a version: {wrong}")
    for wheel in wheels:
        print(wheel.name)


if __name__ == "__main__":
    main()
