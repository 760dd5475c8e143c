"""How many results are met at a time."""

from __future__ import annotations

_MANY = 100
_PAUSE = 5e-6


def lot_pause(outstanding: int) -> float:
    """Seconds to let pass before waiting again for so many results, after some of them came; 0 for few.

    A wait for n takes time that grows with n, so with a wait for each single one the time would grow with its square.
    """
    return outstanding * _PAUSE if outstanding > _MANY else 0.0
