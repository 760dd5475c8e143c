"""Write the root distribution's requirements and extras from the plugins in this tree.

In a checkout the workspace's members are required by file reference, so that ``pip install .``
works offline; with UMBEL_RELEASE=1 they are required by ``==version``, as an index needs it.
"""

from __future__ import annotations

import os
import runpy
import tomllib
from collections import defaultdict
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

LIBRARIES = ["click>=8.1", "rich>=13"]
OPTIONAL = {"pydantic": ["pydantic>=2"]}


class CustomMetadataHook(MetadataHookInterface):
    """Fills ``dependencies`` and ``optional-dependencies`` of the distribution ``umbel``."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Called by hatchling with the project table; a dynamic field may be set here."""
        root = Path(self.root)
        version = runpy.run_path(str(root / "VERSION.py"))["__version__"]
        release = os.environ.get("UMBEL_RELEASE") == "1"

        def requirement(distribution: str, folder: Path) -> str:
            if release:
                return f"{distribution}=={version}"
            return f"{distribution} @ {folder.resolve().as_uri()}"

        required = [requirement("umbel-kernel", root / "kernel")]
        extras: dict[str, list[str]] = defaultdict(list)
        for path in sorted(root.glob("plugins/*/*/pyproject.toml")):
            table = tomllib.loads(path.read_text("utf-8"))
            wanted = requirement(table["project"]["name"], path.parent)
            extras[path.parent.name].append(wanted)
            needs = [
                requirement(need, root / "plugins" / f"{need.split('-')[1]}s" / need.split("-", 2)[2])
                for need in table["project"]["dependencies"]
                if need.startswith("umbel-") and need != "umbel-kernel"
            ]
            extras[path.parent.name].extend(needs)
            if table.get("tool", {}).get("umbel", {}).get("default"):
                required.extend(need for need in (wanted, *needs) if need not in required)
        extras = defaultdict(list, {name: sorted(set(wanted)) for name, wanted in extras.items()})
        extras["all"] = sorted({wanted for of_one in extras.values() for wanted in of_one})
        extras["testkit"] = [requirement("umbel-testkit", root / "testkit")]
        metadata["dependencies"] = [*LIBRARIES, *required]
        metadata["optional-dependencies"] = {**OPTIONAL, **dict(sorted(extras.items()))}
