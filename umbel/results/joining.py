"""Whether a result may be waited for here: inside a task it may not, unless the task says so."""

from __future__ import annotations

from contextlib import AbstractContextManager

from umbel.model.current import join_would_block, joins


def assert_will_not_block() -> None:
    """Refuse to wait for a result inside a task.

    Raises:
        RuntimeError: this is a task, and a worker whose every slot waits like this never goes on.
    """
    if join_would_block():
        raise RuntimeError(
            "a task must not wait for another task's result: with every slot of the workers waiting, none is left "
            "to run what they wait for; use a chain, a chord or a callback, or, knowing this, allow_join_result()"
        )


def allow_join_result() -> AbstractContextManager[None]:
    """Within it, a task may wait for results."""
    return joins(True)


def denied_join_result() -> AbstractContextManager[None]:
    """Within it, waiting for a result raises RuntimeError."""
    return joins(False)
