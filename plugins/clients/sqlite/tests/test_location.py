"""Which file a URL names."""

from __future__ import annotations

from pathlib import Path

import pytest

from umbel_client_sqlite import file_of
from umbel_kernel.errors import ConfigurationError
from umbel_kernel.url import URL


@pytest.mark.parametrize(
    ("url", "file"),
    [
        ("sqlite://", "umbel.db"),
        ("sqlite:///", "umbel.db"),
        ("sqlite:///relative.db", "relative.db"),
        ("sqlite:///sub/relative.db", "sub/relative.db"),
        ("sqlite:////tmp/absolute.db", "/tmp/absolute.db"),
        ("sqlite:///with%20space.db", "with space.db"),
    ],
)
def test_urls(url: str, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert file_of(URL.parse(url)) == str(tmp_path / file)


@pytest.mark.parametrize("url", ["sqlite://name.db", "sqlite:///:memory:", "sqlite:///a%00b", "sqlite:////tmp/"])
def test_urls_that_name_no_file(url: str) -> None:
    with pytest.raises(ConfigurationError, match="sqlite://"):
        file_of(URL.parse(url))
