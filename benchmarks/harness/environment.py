"""The benchmark's own virtual environment: the peers at fixed versions, and umbel from this checkout."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent
CHECKOUT = FOLDER.parent
HOME = FOLDER / "out" / "venv"
REQUIREMENTS = FOLDER / "requirements.txt"
BYTECODE = FOLDER / "out" / "bytecode"
"""Where the bytecode of all contenders is, whatever the shell says of it: an installed package has some, and without
it a start measures the compiler."""


def enter(arguments: list[str]) -> None:
    """Go on in the environment, made first where it is missing or not what requirements.txt says. Does not return
    unless it is in there already."""
    if Path(sys.prefix).resolve() == HOME.resolve():
        _compile()
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


def bytecode(environment: dict[str, str]) -> dict[str, str]:
    """An environment in which Python finds and keeps the bytecode."""
    kept = {name: value for name, value in environment.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return kept | {"PYTHONPYCACHEPREFIX": str(BYTECODE)}


def _compile() -> None:
    """Compile what is new or changed, so that the first round is not slower than the others."""
    sources = [sysconfig.get_path("purelib"), *(str(CHECKOUT / name) for name in _TREES)]
    command = [sys.executable, "-m", "compileall", "-qq", "-j", "0", "-x", r"lib2to3|/tests?/|/test_", *sources]
    subprocess.run(command, env=bytecode(dict(os.environ)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


_TREES = ("umbel", "kernel", "plugins", "benchmarks/harness", "benchmarks/contenders")
