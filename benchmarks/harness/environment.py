"""The benchmark's own virtual environment: the peers at fixed versions, and umbel from this checkout."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent
CHECKOUT = FOLDER.parent
HOME = FOLDER / "out" / "venv"
REQUIREMENTS = FOLDER / "requirements.txt"


def enter(arguments: list[str]) -> None:
    """Go on in the environment, made first where it is missing or not what requirements.txt says. Does not return
    unless it is in there already."""
    if Path(sys.prefix).resolve() == HOME.resolve():
        return
    python = HOME / "bin" / "python"
    stamp = HOME / "stamp"
    wanted = _fingerprint()
    if not (python.exists() and stamp.exists() and stamp.read_text() == wanted):
        _make(python)
        stamp.write_text(wanted)
    os.execv(python, [str(python), *arguments])


def _fingerprint() -> str:
    parts = [REQUIREMENTS, *_projects(), CHECKOUT / "pyproject.toml"]
    texts = [(path if path.is_file() else path / "pyproject.toml").read_bytes() for path in parts]
    return hashlib.sha256(sys.version.encode() + b"".join(texts)).hexdigest()


def _projects() -> list[Path]:
    """The folders of the kernel and of all plugins."""
    plugins = sorted(path.parent for path in (CHECKOUT / "plugins").glob("*/*/pyproject.toml"))
    return [CHECKOUT / "kernel", *plugins]


def _make(python: Path) -> None:
    print(f"making the benchmark's environment in {HOME} …", flush=True)
    here: list[str] = []
    for path in [*_projects(), CHECKOUT]:
        here += ["-e", str(path)]
    uv = shutil.which("uv")
    if uv:
        subprocess.run([uv, "venv", "-q", "--clear", "--python", sys.executable, str(HOME)], check=True)
        install = [uv, "pip", "install", "-q", "--python", str(python)]
    else:
        venv.create(HOME, clear=True, with_pip=True)
        install = [str(python), "-m", "pip", "install", "-q"]
    subprocess.run([*install, "-r", str(REQUIREMENTS)], check=True)
    subprocess.run([*install, *here], check=True)
