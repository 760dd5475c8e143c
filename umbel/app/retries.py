"""Automatic retries: a task's ``autoretry_for`` and what goes with it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from umbel.model.exceptions import Ignore, Retry
from umbel.model.later import Later

inspect, random = Later("inspect"), Later("random")


def backoff_interval(factor: float, retries: int, maximum: float, full_jitter: bool = False) -> int:
    """Seconds to wait before the next attempt: ``factor`` doubled with each, at most ``maximum``.

    Args:
        full_jitter: take a random whole number from 0 to that instead, so that many tasks that failed
            together do not come back together.
    """
    countdown = min(maximum, factor * 2**retries)
    if full_jitter:
        countdown = random.randrange(int(countdown) + 1)
    return max(0, int(countdown))


def add_autoretry(task: Any, run: Callable[..., Any], options: dict[str, Any]) -> Callable[..., Any]:
    """Wrap a task's function so that the errors in ``autoretry_for`` make it retry.

    Options not given are read from the task's class: ``autoretry_for``, ``dont_autoretry_for``,
    ``retry_kwargs``, ``retry_backoff`` (True is 1 second), ``retry_backoff_max`` and ``retry_jitter``.
    """

    def option(name: str, default: Any) -> Any:
        return options[name] if name in options else getattr(task, name, default)

    wanted = tuple(option("autoretry_for", ()))
    unwanted = tuple(option("dont_autoretry_for", ()))
    retry_kwargs = dict(option("retry_kwargs", None) or {})
    backoff = float(option("retry_backoff", False) or 0)
    backoff_max = float(option("retry_backoff_max", 600))
    jitter = bool(option("retry_jitter", True))
    if not wanted:
        return run

    def again(error: Exception) -> Any:
        how = dict(retry_kwargs)
        if backoff:
            how["countdown"] = backoff_interval(backoff, task.request.retries, backoff_max, jitter)
        if hasattr(task, "override_max_retries"):
            how["max_retries"] = getattr(task, "override_max_retries", task.max_retries)
        return task.retry(exc=error, **how)

    as_they_are = (Ignore, Retry, *unwanted)

    @functools.wraps(run)
    def retrying(*args: Any, **kwargs: Any) -> Any:
        try:
            return run(*args, **kwargs)
        except as_they_are:
            raise
        except wanted as error:
            raise again(error) from error

    @functools.wraps(run)
    async def retrying_async(*args: Any, **kwargs: Any) -> Any:
        try:
            return await run(*args, **kwargs)
        except as_they_are:
            raise
        except wanted as error:
            raise again(error) from error

    return retrying_async if inspect.iscoroutinefunction(run) else retrying
