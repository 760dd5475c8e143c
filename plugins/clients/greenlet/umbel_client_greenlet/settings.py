"""The settings of pools of greenlets."""

from __future__ import annotations

from umbel_kernel.setting import Setting


def stall(pool: str) -> Setting:
    """The setting of a pool that says what is too long for a hub to stand still."""
    return Setting(
        f"{pool}_stall",
        "float",
        1.0,
        f"Seconds that something may hold up the hub of the {pool} pool before a warning names it; 0 for never.",
    )
