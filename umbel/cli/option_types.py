"""Types of options."""

from __future__ import annotations

from typing import Any

import click

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL", "FATAL")


class NameList(click.ParamType):  # type: ignore[type-arg]
    """Names with commas between them."""

    name = "names"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[str]:
        """The names, without blanks around them."""
        if isinstance(value, list):
            return value
        names = [name.strip() for name in str(value).split(",")]
        if not all(names):
            self.fail("names with commas between them, as in 'high,low'", param, ctx)
        return names


class LogLevel(click.ParamType):  # type: ignore[type-arg]
    """A log level by name, in any case, or by number."""

    name = "level"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str | int:
        """The level."""
        text = str(value)
        if text.isdigit():
            return int(text)
        if text.upper() not in LEVELS:
            self.fail(f"{text!r} is no log level; there are {', '.join(LEVELS)}", param, ctx)
        return text.upper()


class OctalNumber(click.ParamType):  # type: ignore[type-arg]
    """Permissions as they are always written."""

    name = "octal"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number."""
        if isinstance(value, int):
            return value
        try:
            found = int(str(value).removeprefix("0o"), 8)
        except ValueError:
            found = -1
        if not 0 <= found <= 0o777:
            self.fail(f"{value!r} is no octal number of three digits such as 027", param, ctx)
        return found


class Span(click.ParamType):  # type: ignore[type-arg]
    """A largest and a smallest number; without the second it is 0, as in Celery."""

    name = "MAX,MIN"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        """The two numbers."""
        if isinstance(value, tuple):
            return value
        most, _, least = str(value).partition(",")
        if not (most.strip().isdigit() and (least or "0").strip().isdigit()):
            self.fail(f"{value!r} is not MAX or MAX,MIN, as in '10,3'", param, ctx)
        if not int(most) >= int(least or 0) >= 0 or not int(most):
            self.fail(f"in {value!r} the first number is the larger one, and at least 1", param, ctx)
        return int(most), int(least or 0)


class Concurrency(click.ParamType):  # type: ignore[type-arg]
    """A number of slots, or ``auto``."""

    name = "N|auto"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str | int:
        """The number, or ``auto``."""
        text = str(value).strip().lower()
        if text == "auto":
            return text
        if not text.isdigit():
            self.fail(f"{value!r} is neither a number nor 'auto'", param, ctx)
        return int(text)
