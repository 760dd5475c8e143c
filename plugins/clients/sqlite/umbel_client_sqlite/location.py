"""Where the database file is, read from a URL."""

from __future__ import annotations

import os

from umbel_kernel.errors import ConfigurationError
from umbel_kernel.url import URL

DEFAULT_FILE = "umbel.db"
"""The file in the current directory that ``sqlite://`` means."""


def file_of(url: URL) -> str:
    """The absolute path of the file that a URL names.

    ``sqlite:///relative.db`` is relative to the current directory and ``sqlite:////absolute.db`` is absolute, as in
    SQLAlchemy; ``sqlite://`` is ``umbel.db`` in the current directory. The directory counts that is current now: a
    process that changes it later, as a daemon does, keeps its file.

    Raises:
        ConfigurationError: the URL names a host, or no file.
    """
    if url.host:
        raise ConfigurationError(
            f"{url.masked()} names a host, but SQLite is a file: write sqlite:///relative/path.db with three slashes, "
            f"or sqlite:////absolute/path.db with four"
        )
    path = url.path[1:] if url.path.startswith("/") else url.path
    if path == ":memory:" or "\0" in path:
        raise ConfigurationError(f"{url.masked()} names no file that processes can share; use memory:// within one")
    if path.endswith("/"):
        raise ConfigurationError(f"{url.masked()} names a directory; add the name of a file to it")
    return os.path.abspath(path or DEFAULT_FILE)
