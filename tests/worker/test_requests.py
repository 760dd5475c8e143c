"""Classes of requests of the user's own hear what becomes of each task."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.worker.test_shutdown import Place, place
from umbel import Umbel
from umbel.worker.held import Plan
from umbel.worker.request import Request
from umbel_kernel.errors import ConfigurationError

__all__ = ["place"]

MORE = """
    import json
    from umbel import Task
    from umbel.worker.request import Request

    class Hearing(Request):
        def note(self, *words):
            with open("{folder}/heard", "a") as file:
                print(json.dumps([self.task.name, *words, os.getpid()]), file=file)

        def on_accepted(self, pid, time_accepted):
            self.note("accepted", self.delivery_info["routing_key"], self.argsrepr, str(self) == f"{{self.name}}[{{self.id}}]")

        def on_success(self, failed__retval__runtime, **kwargs):
            failed, value, seconds = failed__retval__runtime
            self.note("success", failed, value, seconds >= 0)
            raise RuntimeError("as such classes may")

        def on_retry(self, exc_info):
            self.note("retry", "again" in str(exc_info.exception))

        def on_timeout(self, soft, timeout):
            self.note("timeout", soft, timeout)

        def on_failure(self, exc_info, send_failed_event=True, return_ok=False):
            self.note("failure", "on purpose" in str(exc_info.exception), "LookupError" in exc_info.traceback)

    class Heard(Task):
        Request = Hearing

    @app.task(base=Heard, name="heard.good")
    def good():
        return 7

    @app.task(base=Heard, name="heard.bad")
    def bad():
        raise LookupError("on purpose")

    @app.task(base=Heard, name="heard.again", bind=True)
    def again(self):
        if not self.request.retries:
            raise self.retry(exc=LookupError("again"), countdown=0)

    @app.task(base=Heard, name="heard.long", time_limit=0.3)
    def long():
        time.sleep(60)
"""  # noqa: E501


@pytest.mark.parametrize("pool", ["prefork", pytest.param("threads", marks=pytest.mark.slow)])
def test_a_request_hears_what_becomes_of_its_task(place: Place, pool: str) -> None:
    path = place.folder / "ends.py"
    path.write_text(path.read_text() + MORE.replace("\n    ", "\n").format(folder=place.folder))
    worker = place.start("-P", pool, "-c", "1")
    names = ["good", "bad", "again", *(["long"] if pool == "prefork" else [])]
    for name in names:
        place.app.send_task(f"heard.{name}").get(timeout=30, propagate=False)
    lines = [json.loads(line) for line in (place.folder / "heard").read_text().splitlines()]
    assert {line.pop() for line in lines} == {worker.pid}

    def of(name: str) -> list[Any]:
        return [rest for task, *rest in lines if task == f"heard.{name}"]

    accepted = ["accepted", "celery", "()", True]
    assert of("good") == [accepted, ["success", False, "7", True]]
    assert of("bad") == [accepted, ["failure", True, True]]
    assert of("again") == [accepted, ["retry", True], accepted, ["success", False, "None", True]]
    if pool == "prefork":
        assert of("long") == [accepted, ["timeout", False, 0.3]]
    assert "its on_success raised" in place.log()


class Mine(Request):
    """One by its path."""


def test_which_class_it_is() -> None:
    app = Umbel("requests", broker="memory://", set_as_current=False)

    @app.task(name="plain")
    def plain() -> None: ...

    @app.task(name="path", Request=f"{__name__}:Mine")
    def path() -> None: ...

    @app.task(name="wrong", Request=dict)
    def wrong() -> None: ...

    assert Plan.of(plain, None, None).request is None
    assert Plan.of(path, None, None).request is Mine
    with pytest.raises(ConfigurationError, match=r"no subclass of umbel.worker.request.Request"):
        Plan.of(wrong, None, None)
