"""The app itself: registering, naming, configuring, discovering, annotating."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from umbel import Task, Umbel, current_app, shared_task
from umbel.app.annotations import MapAnnotation
from umbel.model import signals
from umbel.model.exceptions import AlreadyRegistered, ConfigurationError, NotRegistered
from umbel_kernel.errors import EncodeError


class Order(BaseModel):
    """An argument and a result."""

    number: int


def test_names_are_those_of_module_and_function(app: Umbel) -> None:
    @app.task
    def job() -> None:
        """Does nothing."""

    assert job.name == f"{__name__}.job"
    assert job.__name__ == "job"
    assert job.__doc__ == "Does nothing."
    assert app.tasks[job.name] is job
    assert app.gen_task_name("f", "__main__") == "tests.f"


def test_a_task_that_is_missing_is_named(app: Umbel) -> None:
    with pytest.raises(NotRegistered, match=r"nobody\.knows"):
        app.tasks["nobody.knows"]


def test_builtin_tasks_are_there(app: Umbel) -> None:
    names = "accumulate backend_cleanup chain chord chord_unlock chunks group map starmap"
    assert {f"celery.{name}" for name in names.split()} <= set(app.tasks)


def test_every_option_is_accepted(app: Umbel) -> None:
    options: dict[str, Any] = {
        "max_retries": 5,
        "default_retry_delay": 1,
        "rate_limit": "10/m",
        "ignore_result": True,
        "trail": False,
        "send_events": False,
        "store_errors_even_if_ignored": True,
        "serializer": "json",
        "compression": "zlib",
        "time_limit": 10,
        "soft_time_limit": 5,
        "track_started": True,
        "acks_late": True,
        "acks_on_failure_or_timeout": False,
        "acks_on_failure": True,
        "acks_on_timeout": False,
        "reject_on_worker_lost": True,
        "retry_on_worker_lost": True,
        "throws": (KeyError,),
        "expires": 60,
        "priority": 3,
        "resultrepr_maxsize": 10,
        "typing": False,
        "queue": "q",
        "exchange": None,
        "routing_key": None,
    }

    @app.task(name="full", **options)
    def full() -> None:
        """Does nothing."""

    for name, value in options.items():
        assert getattr(full, name) == value, name


def test_a_function_is_given_with_options(app: Umbel) -> None:
    def add(x: int) -> int:
        return x

    task = app.task(add, name="tasks.other", priority=3)
    assert (task.name, task.priority, task(2)) == ("tasks.other", 3, 2)
    with pytest.raises(TypeError, match="no positional arguments"):
        app.task("tasks.other")


def test_options_not_given_follow_the_settings(app: Umbel) -> None:
    @app.task
    def job() -> None:
        """Does nothing."""

    assert job.acks_late is False
    app.conf.task_acks_late = True
    assert job.acks_late is True


def test_task_takes_no_stray_arguments(app: Umbel) -> None:
    with pytest.raises(TypeError, match=r"write @app\.task"):
        app.task("name")


def test_class_based_tasks(app: Umbel) -> None:
    class Adder(Task):
        name = "adder"

        def run(self, x: int, y: int) -> int:
            return x + y

    class Other(Task):
        name = "adder"

    adder = app.register_task(Adder())
    assert adder(1, 2) == 3
    assert adder.apply((3, 4)).get() == 7
    assert app.register_task(Adder) is not None
    with pytest.raises(AlreadyRegistered):
        app.register_task(Other())


def test_custom_base_classes(app: Umbel) -> None:
    class Counting(Task):
        calls = 0

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            type(self).calls += 1
            return super().__call__(*args, **kwargs)

    @app.task(base=Counting)
    def job() -> str:
        return "done"

    assert job.apply().get() == "done"
    assert type(job).calls == 1


def test_annotations_change_tasks(app: Umbel) -> None:
    @app.task(name="annotated")
    def job() -> None:
        """Does nothing."""

    app.conf.task_annotations = {"*": {"rate_limit": "1/s"}, "annotated": {"time_limit": 9}}
    assert app.tasks["annotated"].rate_limit == "1/s"
    assert job.time_limit == 9


def test_annotations_hold_for_the_first_call(app: Umbel) -> None:
    @app.task(name="annotated")
    def job() -> None:
        """Does nothing."""

    app.conf.task_annotations = {"annotated": {"queue": "elsewhere"}}
    job.delay()
    assert app.connections.broker().size(["elsewhere"]) == {"elsewhere": 1}


def test_shared_task_follows_the_current_app(app: Umbel) -> None:
    @shared_task(name="a.shared.one", bind=True)
    def one(self: Task) -> Any:
        return self.app

    assert one() is app
    assert current_app.tasks["a.shared.one"].app is app
    with pytest.raises(TypeError, match="a task already"):
        shared_task(one._get_current_object())


def test_a_typo_in_the_configuration_is_an_error_with_a_suggestion(app: Umbel) -> None:
    with pytest.raises(ConfigurationError, match="task_serializer"):
        app.conf.update(task_serialiser="json")
    with pytest.raises(ConfigurationError, match="worker_concurrency"):
        app.conf.worker_concurrency = "many"
    with pytest.raises(ConfigurationError, match="broker_url"):
        Umbel("x", broker_uri="redis://", set_as_current=False)


def test_config_from_object_in_all_its_forms(app: Umbel) -> None:
    class Config:
        task_serializer = "json"
        worker_prefetch_multiplier = 7

    app.config_from_object(Config)
    assert app.conf.worker_prefetch_multiplier == 7
    app.config_from_object({"CELERY_TASK_ALWAYS_EAGER": True}, namespace="CELERY")
    assert app.always_eager


def test_signals_around_a_publish(app: Umbel) -> None:
    seen: list[Any] = []

    @app.task(name="told")
    def told() -> None:
        """Does nothing."""

    def before(sender: Any = None, headers: Any = None, routing_key: Any = None, **_: Any) -> None:
        seen.append(("before", sender, routing_key))
        headers["added"] = 1

    def after(sender: Any = None, headers: Any = None, **_: Any) -> None:
        seen.append(("after", sender, headers["added"]))

    signals.before_task_publish.connect(before, sender="told")
    signals.after_task_publish.connect(after, sender="told")
    try:
        told.delay()
    finally:
        signals.before_task_publish.disconnect(before, sender="told")
        signals.after_task_publish.disconnect(after, sender="told")
    assert seen == [("before", "told", "celery"), ("after", "told", 1)]
    (message,) = app.connections.broker().consumer([app.queues["celery"]]).receive(1, 1)
    assert message.headers["added"] == 1


def test_signals_around_a_run(app: Umbel) -> None:
    seen: list[Any] = []

    @app.task(name="watched")
    def watched(x: int) -> int:
        return 10 // x

    def note(signal: Any, sender: Any = None, **named: Any) -> None:
        seen.append((signal.name, sender.name, sorted(named)))

    watching = [signals.task_prerun, signals.task_postrun, signals.task_success, signals.task_failure]
    for signal in watching:
        signal.connect(note)
    try:
        watched.apply((1,))
        watched.apply((0,))
    finally:
        for signal in watching:
            signal.disconnect(note)
    run = ["args", "kwargs", "task", "task_id"]
    assert seen == [
        ("task_prerun", "watched", run),
        ("task_success", "watched", ["result", "runtime"]),
        ("task_postrun", "watched", sorted([*run, "retval", "state"])),
        ("task_prerun", "watched", run),
        ("task_failure", "watched", ["args", "einfo", "exception", "kwargs", "task_id", "traceback"]),
        ("task_postrun", "watched", sorted([*run, "retval", "state"])),
    ]


def test_autodiscover_and_include(tmp_path: Path) -> None:
    for package in ("billing", "mailing"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").touch()
    (tmp_path / "billing" / "tasks.py").write_text(
        "from umbel import shared_task\n@shared_task\ndef charge():\n    return 1\n"
    )
    (tmp_path / "extra.py").write_text("from umbel import shared_task\n@shared_task\ndef more():\n    return 2\n")
    program = """
        from umbel import Umbel
        app = Umbel("proj", broker="memory://", backend="memory://", include=["extra"])
        app.autodiscover_tasks(["billing", "mailing"])
        app.import_default_modules()
        print(sorted(name for name in app.tasks if not name.startswith("celery.")))
    """
    out = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert out.stdout.strip() == "['billing.tasks.charge', 'extra.more']"


def test_importing_umbel_is_cheap() -> None:
    program = "import sys, umbel; from umbel import Umbel; Umbel('x', broker='memory://'); print(*sys.modules)"
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = set(out.stdout.split())
    for heavy in ("kombu", "celery", "click", "rich", "pydantic", "redis", "amqp", "asyncio", "billiard"):
        assert heavy not in loaded, heavy


def test_pydantic_arguments_and_results(app: Umbel) -> None:
    @app.task(pydantic=True)
    def double(order: Order, times: int = 2) -> Order:
        assert isinstance(order, Order)
        return Order(number=order.number * times)

    assert double.apply(({"number": 4},)).get() == {"number": 8}
    with pytest.raises(ValueError, match="number"):
        double.apply(({"number": "many"},), throw=True)


def test_pydantic_models_are_sent_as_plain_data(app: Umbel) -> None:
    @app.task(pydantic=True, bind=True)
    def double(self: Any, order: Order, times: int = 2, *, other: Order | None = None) -> Order:
        assert isinstance(order, Order)
        return Order(number=order.number * times + (other.number if other else 0))

    assert double.apply((Order(number=4),)).get() == {"number": 8}
    assert double.apply((Order(number=4), 3), {"other": Order(number=1)}).get() == {"number": 13}
    assert double.apply(kwargs={"order": Order(number=4)}).get() == {"number": 8}
    assert double.s(Order(number=2)).apply().get() == {"number": 4}
    with pytest.raises(EncodeError, match="Order"):
        double.apply((Order(number=4), Order(number=5)))


def test_annotations_replace_methods(app: Umbel) -> None:
    calls: list[Any] = []

    def on_failure(task: Task, error: BaseException, *_: Any) -> None:
        calls.append((task.name, str(error)))

    def noting(run: Any) -> Any:
        def noted(*args: Any) -> Any:
            calls.append(args)
            return run(*args)

        return noted

    @app.task(name="annotated", bind=True)
    def job(self: Task, word: str) -> None:
        raise LookupError(word)

    @app.task(name="another")
    def other(word: str) -> str:
        return word

    app.conf.task_annotations = {
        "annotated": {"on_failure": on_failure, "@__call__": noting},
        "another": {"@run": noting},
    }
    job.apply(("gone",))
    assert calls == [("gone",), ("annotated", "gone")]
    assert other.apply(("here",)).get() == "here"
    assert calls[2:] == [("here",)]


class Own(MapAnnotation):
    """What a project may write for itself."""

    def annotate(self, task: Any) -> dict[str, Any]:
        return {"priority": len(task.name)}


@pytest.mark.parametrize("given", [Own(), Own, f"{__name__}:Own", [{"*": {"priority": 1}}, Own()]], ids=str)
def test_annotations_by_a_class(app: Umbel, given: Any) -> None:
    @app.task(name="annotated")
    def job() -> None:
        """Does nothing."""

    app.conf.task_annotations = given
    assert app.tasks["annotated"].priority == 9


def test_annotations_that_are_none(app: Umbel) -> None:
    app.conf.task_annotations = [7]
    with pytest.raises(ConfigurationError, match="is no mapping of task names"):
        app.finalize()
    app.conf.task_annotations = None  # the shared tasks that later tests write are this app's, too, while it is there
