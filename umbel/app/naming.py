"""Names of tasks that were given none."""

from __future__ import annotations

import sys


def task_name(main: str | None, name: str, module_name: str) -> str:
    """``module.function``; for ``__main__`` the app's main name, or the file's, stands for the module.

    So a task has one name in the program that is run and in the worker that imports it.
    """
    if module_name == "__main__":
        if main:
            return f"{main}.{name}"
        module = sys.modules.get("__main__")
        spec = getattr(module, "__spec__", None)
        path = getattr(module, "__file__", None)
        if spec is not None and spec.name != "__main__":
            module_name = spec.name.removesuffix(".__main__")
        elif path:
            module_name = path.replace("\\", "/").rpartition("/")[2].removesuffix(".py")
    return f"{module_name}.{name}"
