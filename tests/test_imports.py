"""Imports go down, at the top of a file, never in a circle; a plugin or client imports only what it declares."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PLUGINS = sorted(path.parent for path in ROOT.glob("plugins/*/*/pyproject.toml"))
FRAMEWORK = ("click", "pluggy", "rich")
# Libraries that one module of the framework uses when a user asks for them: an extra brings each.
OPTIONAL = {"umbel.app.pydantic_task": "pydantic"}
# Modules that are imported by name and why: the optional ones, the command line that ``app.start()`` runs and that the
# entry point runs when the process is prepared, and what finds who prepares it.
BY_NAME = {*OPTIONAL, "umbel.cli.main", "umbel.model.installed"}
STANDARD = sys.stdlib_module_names


def package_of(folder: Path) -> Path:
    """``plugins/brokers/redis`` -> ``plugins/brokers/redis/umbel_broker_redis``."""
    return folder / f"umbel_{folder.parent.name.removesuffix('s')}_{folder.name}"


PACKAGES = [
    ROOT / "kernel" / "umbel_kernel",
    ROOT / "testkit" / "umbel_testkit",
    ROOT / "umbel",
    *map(package_of, PLUGINS),
]


@dataclass(frozen=True)
class Source:
    """One file of a package, parsed."""

    path: Path
    package: Path

    @property
    def module(self) -> str:
        parts = self.path.relative_to(self.package.parent).with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    @property
    def tree(self) -> ast.Module:
        return ast.parse(self.path.read_text("utf-8"), str(self.path))

    def at(self, node: ast.stmt | ast.expr) -> str:
        return f"{self.path.relative_to(ROOT)}:{node.lineno}"


def sources(*packages: Path) -> list[Source]:
    return [Source(path, package) for package in packages for path in sorted(package.rglob("*.py"))]


def imported(tree: ast.AST) -> Iterator[tuple[str, ast.stmt]]:
    """Every name that a file imports from, in full."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports are not used here"
            for alias in node.names:
                yield f"{node.module}.{alias.name}", node


def names_of_plugins() -> set[str]:
    names: set[str] = set()
    for folder in PLUGINS:
        project = tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))["project"]
        for entries in project.get("entry-points", {}).values():
            names.update(entries)
    return names


def normal(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()


def test_the_floors_hold() -> None:
    # In a process of its own: it configures logging, which would silence the loggers of all later tests.
    call = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
    done = subprocess.run([sys.executable, "-c", call], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def named_module(call: ast.Call) -> bool:
    """Whether a call imports a module of ours by a name that is written there."""
    function = ast.unparse(call.func).rpartition(".")[2]
    if "import" not in function or not call.args or not isinstance(call.args[0], ast.Constant):
        return False
    name = str(call.args[0].value).partition(":")[0]
    return name.startswith(("umbel.", "umbel_")) and name not in BY_NAME


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_no_import_is_hidden_in_a_function(package: Path) -> None:
    hidden = []
    for source in sources(package):
        for scope in ast.walk(source.tree):
            if not isinstance(scope, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
                continue
            for node in ast.walk(scope):
                named = isinstance(node, ast.Call) and named_module(node)
                if isinstance(node, (ast.Import, ast.ImportFrom)) or named:
                    hidden.append(source.at(node))
    assert hidden == []


def test_no_two_modules_import_each_other_in_a_circle() -> None:
    found = {source.module: source for source in sources(*PACKAGES)}
    needs: dict[str, set[str]] = {}
    for name, source in found.items():
        mine = needs.setdefault(name, set())
        for target, _ in imported(source.tree):
            while target and target not in found:
                target = target.rpartition(".")[0]
            if target and target != name:
                mine.add(target)
    # What nothing needs, or needs nothing, is in no circle; what is left over is, or leads into one.
    while free := {name for name, of in needs.items() if not of & needs.keys()}:
        needs = {name: of - free for name, of in needs.items() if name not in free}
    assert {name: sorted(of & needs.keys()) for name, of in needs.items()} == {}


def test_the_kernel_needs_the_standard_library_and_pluggy() -> None:
    foreign = {
        f"{source.at(node)} {name}"
        for source in sources(PACKAGES[0])
        for name, node in imported(source.tree)
        if name.partition(".")[0] not in {*STANDARD, "pluggy", "umbel_kernel"}
    }
    assert foreign == set()


def test_the_testkit_needs_the_kernel_and_pytest() -> None:
    foreign = {
        f"{source.at(node)} {name}"
        for source in sources(PACKAGES[1])
        for name, node in imported(source.tree)
        if name.partition(".")[0] not in {*STANDARD, "pytest", "umbel_kernel", "umbel_testkit"}
    }
    assert foreign == set()


def test_the_framework_needs_the_kernel_and_its_declared_libraries_and_no_plugin() -> None:
    foreign = {
        f"{source.at(node)} {name}"
        for source in sources(ROOT / "umbel")
        for name, node in imported(source.tree)
        if name.partition(".")[0] not in {*STANDARD, *FRAMEWORK, OPTIONAL.get(source.module), "umbel", "umbel_kernel"}
    }
    assert foreign == set()


def test_the_framework_never_compares_the_name_of_a_plugin() -> None:
    names = names_of_plugins()
    compared = []
    for source in sources(ROOT / "umbel", ROOT / "kernel" / "umbel_kernel"):
        for node in ast.walk(source.tree):
            if not isinstance(node, (ast.Compare, ast.MatchValue)):
                continue
            literals = {child.value for child in ast.walk(node) if isinstance(child, ast.Constant)}
            if found := sorted(name for name in names if name in literals):
                line = node.lineno if isinstance(node, ast.Compare) else node.value.lineno
                compared.append(f"{source.path.relative_to(ROOT)}:{line} {', '.join(found)}")
    assert compared == []


@pytest.mark.parametrize("folder", PLUGINS, ids=lambda folder: f"{folder.parent.name}-{folder.name}")
def test_a_plugin_imports_what_it_declares(folder: Path) -> None:
    project = tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))["project"]
    declared = {normal(match[0]) for need in project["dependencies"] if (match := re.match(r"[\w.-]+", need))}
    kind = folder.parent.name.removesuffix("s")
    above = {need for need in declared if need.startswith("umbel-") and need != "umbel-kernel"}
    allowed = () if kind == "client" else (f"umbel-{kind}-", "umbel-client-")
    assert all(need.startswith(allowed) for need in above), f"needs what does not stand below it: {above}"
    owners = packages_distributions()
    package = package_of(folder)
    foreign = set()
    for source in sources(package):
        for name, node in imported(source.tree):
            top = name.partition(".")[0]
            if top in STANDARD or top == package.name:
                continue
            # What is installed from a checkout is not in the table; its distribution has the name of its import.
            if not declared & {normal(owner) for owner in owners.get(top, (top,))}:
                foreign.add(f"{source.at(node)} {name}")
    assert foreign == set()


def test_import_umbel_loads_no_plugin_and_no_client_library() -> None:
    program = "import sys, umbel; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert "umbel" in loaded
    heavy = {"kombu", "celery", "amqp", "redis", "billiard", "asyncio", "click", "rich", "sqlite3", "pydantic"}
    plugins = ("umbel_broker", "umbel_backend", "umbel_client")
    assert [name for name in loaded if name in heavy or name.startswith(plugins)] == []
