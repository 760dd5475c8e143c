"""Each program, command and session of the tutorial does what the page says, with each choice of servers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from umbel import Umbel
from umbel.model.ids import uuid

QUEUES = ("celery", "low-priority", "lopri", "hipri")


@pytest.fixture(scope="module")
def tutorial(page: Any) -> list[Any]:
    """The blocks of the tutorial."""
    found: list[Any] = page("tutorial.md")
    return found


@pytest.fixture
def own_names(amqp_url: str) -> Iterator[str]:
    """A prefix for the names of queues on RabbitMQ; the queues are deleted in the end."""
    prefix = f"tutorial-{uuid()[:8]}-"
    yield prefix
    app = Umbel("sweeper", broker=amqp_url, set_as_current=False)
    broker = app.connections.connect()
    broker.delete([prefix + name for name in QUEUES])
    broker.close()
    app.close()


def section(found: list[Any], name: str) -> list[Any]:
    """The blocks of a section."""
    return [block for block in found if block.section == name]


def naming(found: list[Any], broker: str, backend: str, *, urls: dict[str, str], prefix: str = "") -> Any:
    """What a reader writes who has chosen the line of the page with these servers.

    Args:
        urls: where the servers are that the page has elsewhere.
        prefix: put in front of the names of queues.
    """
    (text,) = (block.text for block in found if block.text.startswith("app = Umbel("))
    (line,) = (line for line in text.splitlines() if f'broker="{broker}' in line and f'backend="{backend}' in line)
    for there, here in urls.items():
        line = line.replace(f'"{there}"', f'"{here}"')
    words = line.removeprefix('app = Umbel("tasks"').removesuffix(")")
    if prefix:
        words += f', task_default_queue="{prefix}celery"'

    def change(text: str) -> str:
        text = re.sub(r'^(app = Umbel\("\w+")', lambda match: match[1] + words, text, flags=re.MULTILINE)
        if prefix:
            text = re.sub(r"\b(low-priority|lopri|hipri)\b", lambda match: prefix + match[1], text)
            text = text.replace("-Q celery", f"-Q {prefix}celery")
        return text

    return change


def test_the_page_is_read_whole(tutorial: list[Any]) -> None:
    assert len(tutorial) > 30
    assert {block.language for block in tutorial} == {"python", "pycon", "console"}
    assert {block.section for block in tutorial} == {"First steps", "Next steps"}
    loose = [block for block in tutorial if block.language == "python" and not block.file]
    assert len(loose) == 1 and loose[0].text.count("app = Umbel(") == loose[0].text.count("\n") == 3


@pytest.mark.parametrize("name", ["First steps", "Next steps"])
def test_without_a_server(reader: Any, tutorial: list[Any], name: str) -> None:
    blocks = section(tutorial, name)
    reader.follow(blocks)
    assert (reader.folder / "umbel.db").is_file()
    typed = [int(what.split()[2]) for what in reader.run if what.startswith("session of ")]
    assert sum(typed) == sum(block.text.count(">>>") for block in blocks) > 15
    assert [what for what in reader.run if what.endswith(".py")] == [block.file for block in blocks if block.file]


@pytest.mark.parametrize("name", ["First steps", "Next steps"])
def test_on_redis(reader: Any, tutorial: list[Any], name: str, own_redis: str) -> None:
    urls = {"redis://localhost:6379/0": own_redis, "redis://localhost:6379/1": own_redis}
    reader.change = naming(tutorial, "redis:", "redis:", urls=urls)
    reader.follow(section(tutorial, name))
    assert not (reader.folder / "umbel.db").exists()


def test_on_rabbitmq_with_results_in_redis(
    reader: Any, tutorial: list[Any], own_redis: str, amqp_url: str, own_names: str
) -> None:
    urls = {"redis://localhost:6379/1": own_redis, "amqp://guest:guest@localhost:5672//": amqp_url}
    reader.change = naming(tutorial, "amqp:", "redis:", urls=urls, prefix=own_names)
    reader.follow(section(tutorial, "Next steps"))
    assert not (reader.folder / "umbel.db").exists()


def test_on_rabbitmq_with_results_as_replies(reader: Any, tutorial: list[Any], amqp_url: str, own_names: str) -> None:
    urls = {"amqp://guest:guest@localhost:5672//": amqp_url}
    reader.change = naming(tutorial, "amqp:", "rpc:", urls=urls, prefix=own_names)
    reader.follow(section(tutorial, "First steps"))
    assert not (reader.folder / "umbel.db").exists()
