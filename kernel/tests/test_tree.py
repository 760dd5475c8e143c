"""What the kernel promises of itself: it is small, and it leans on nothing but the standard library and pluggy."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import umbel_kernel
from umbel_kernel import errors
from umbel_kernel.clock import SYSTEM_CLOCK

KERNEL = Path(umbel_kernel.__file__).parent
FILES = sorted(KERNEL.rglob("*.py"))
LINES = 1500


def test_the_kernel_stays_small() -> None:
    lines = sum(len(path.read_text("utf-8").splitlines()) for path in FILES)
    assert lines < LINES, f"the kernel has {lines} lines; move something into a plugin or the framework"
    assert len(FILES) > 15


def imports(path: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.col_offset) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} has a relative import"
            yield node.module or "", node.col_offset


@pytest.mark.parametrize("path", FILES, ids=[str(path.relative_to(KERNEL)) for path in FILES])
def test_it_imports_the_standard_library_and_pluggy_alone(path: Path) -> None:
    for name, column in imports(path):
        assert name.partition(".")[0] in {*sys.stdlib_module_names, "pluggy", "umbel_kernel"}
        assert column == 0, f"{name} is imported inside a function of {path.name}"


@pytest.mark.parametrize("path", FILES, ids=[str(path.relative_to(KERNEL)) for path in FILES])
def test_every_file_says_what_it_is_for(path: Path) -> None:
    tree = ast.parse(path.read_text("utf-8"))
    assert ast.get_docstring(tree)
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"the class {node.name} has no docstring"


def test_a_contract_is_imported_without_pluggy() -> None:
    code = (
        "import sys, umbel_kernel.spi.broker, umbel_kernel.spi.backend, umbel_kernel.spi.pool, umbel_kernel.plugins\n"
        "assert 'pluggy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_there_is_one_tree_of_errors() -> None:
    classes = [
        value for value in vars(errors).values() if inspect.isclass(value) and value.__module__ == errors.__name__
    ]
    strangers = [one.__name__ for one in classes if not issubclass(one, errors.UmbelError)]
    assert strangers == ["SoftTimeLimitExceeded", "JobInterrupted"], "raised inside users' tasks, who may catch ours"


def test_errors_carry_their_facts() -> None:
    large = errors.ContentTooLarge(11, 10)
    assert (large.size, large.limit) == (11, 10)
    part = errors.PublishError("away", ["m"], 3)
    assert (str(part), part.failed, part.taken) == ("away", ("m",), 3)
    assert str(errors.TimeLimitExceeded(5)) == "TimeLimitExceeded(5,)"
    assert str(errors.SoftTimeLimitExceeded(5)) == "SoftTimeLimitExceeded(5,)"


def test_the_system_clock_tells_both_times() -> None:
    assert SYSTEM_CLOCK.time() > 1_700_000_000
    assert SYSTEM_CLOCK.monotonic() <= SYSTEM_CLOCK.monotonic()
