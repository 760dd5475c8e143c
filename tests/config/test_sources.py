"""Reading configurations from modules, classes, objects, mappings and files."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from umbel.config.errors import MixedNamesError, SettingError, SourceError
from umbel.config.settings import Settings
from umbel_kernel.errors import ConfigurationError

Make = Callable[[str, str], None]


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Write a module into the working directory, which is not on sys.path."""
    monkeypatch.chdir(tmp_path)
    written: list[str] = []

    def make(name: str, text: str) -> None:
        (tmp_path / f"{name}.py").write_text(text)
        written.append(name)

    yield make
    for name in written:
        sys.modules.pop(name, None)


def settings(what: Any, **options: Any) -> Settings:
    found = Settings(environ={})
    found.set_source(what, **options)
    return found


def test_a_module_is_imported_when_a_value_is_first_asked_for(module: Make) -> None:
    module("lazyconf", "task_serializer = 'yaml'")
    conf = settings("lazyconf")
    conf.update(worker_concurrency=3)
    assert conf.setdefault("task_track_started", True) is True
    assert "task_serializer" in conf
    assert repr(conf) == "<Settings: not read yet>"
    assert "lazyconf" not in sys.modules
    assert conf.task_serializer == "yaml"
    assert "lazyconf" in sys.modules
    assert str(Path.cwd()) not in sys.path


def test_force_imports_at_once(module: Make) -> None:
    module("eagerconf", "task_serializer = 'yaml'")
    settings("eagerconf", force=True)
    assert "eagerconf" in sys.modules


@pytest.mark.parametrize("path", ["innerconf:Inner", "innerconf.Inner", "innerconf:Inner.values", "innerconf.py"])
def test_a_string_may_name_an_attribute_or_a_file(module: Make, path: str) -> None:
    module(
        "innerconf",
        "broker_pool_limit = 7\nclass Inner:\n    broker_pool_limit = 7\n    values = {'broker_pool_limit': 7}\n",
    )
    assert settings(path).broker_pool_limit == 7


def test_a_class_with_a_base_and_an_instance() -> None:
    class Base:
        task_serializer = "yaml"

    class Mine(Base):
        worker_concurrency = "4"

        def helper(self) -> int:
            return 1

        @property
        def timezone(self) -> str:
            return "Europe/Oslo"

    assert (settings(Mine()).task_serializer, settings(Mine()).worker_concurrency) == ("yaml", 4)
    assert settings(Mine()).timezone == "Europe/Oslo"
    assert settings(SimpleNamespace(task_serializer="yaml")).task_serializer == "yaml"


def test_a_missing_module_says_where_it_was_looked_for(module: Make) -> None:
    conf = settings("no_such_conf")
    with pytest.raises(SourceError, match="no module named 'no_such_conf' in "):
        conf.resolve()
    with pytest.raises(ImportError):
        _ = conf.timezone
    with pytest.raises(SourceError, match=r"named without '\.py': 'no_such_conf'"):
        settings("no_such_conf.py").resolve()


def test_a_module_that_cannot_be_imported_is_told_from_a_missing_one(module: Make) -> None:
    module("brokenconf", "import no_such_library")
    with pytest.raises(SourceError, match=r"'brokenconf' cannot be imported: .*no_such_library"):
        settings("brokenconf").resolve()


def test_silent_takes_a_missing_module_as_empty() -> None:
    assert settings("no_such_conf", silent=True).task_serializer == "json"


def test_a_module_may_hold_what_is_no_setting() -> None:
    found = ModuleType("found")
    vars(found).update(
        os=sys,
        Queue=object,
        helper=lambda: 1,
        PROJECT="x",
        redis_url="redis://h",
        some_list=[1],
        task_factory=lambda: 1,
        imports=["a"],
        redbeat_redis_url="redis://h/1",
    )
    conf = settings(found)
    assert conf.imports == ["a"]
    assert conf.redbeat_redis_url == "redis://h/1"
    assert "some_list" not in conf


@pytest.mark.parametrize(
    ("typo", "meant"),
    [
        ("task_serialiser", "task_serializer"),
        ("worker_prefetch_multipler", "worker_prefetch_multiplier"),
        ("redis_sockettimeout", "redis_socket_timeout"),
        ("timezon", "timezone"),
        ("worker_nothing_like_it", ""),
    ],
)
def test_a_typo_in_a_module_is_an_error_with_a_suggestion(typo: str, meant: str) -> None:
    found = ModuleType("found")
    setattr(found, typo, "x")
    with pytest.raises(SettingError, match="config module 'found'") as raised:
        settings(found).resolve()
    assert (raised.value.name, raised.value.suggestion) == (typo, meant)
    assert not meant or f"did you mean {meant!r}?" in str(raised.value)


def test_every_unknown_key_of_a_dict_is_an_error_and_all_are_named() -> None:
    with pytest.raises(SettingError) as raised:
        settings({"nothing": 1, "task_serialiser": "x", "broker_pool_limit": "many"}).resolve()
    assert len(raised.value.others) == 2
    for part in ("'nothing'", "did you mean 'task_serializer'?", "'broker_pool_limit' takes a whole number or None"):
        assert part in str(raised.value)


def test_a_wrong_value_says_what_is_allowed_and_where_it_stands() -> None:
    found = ModuleType("celeryconfig_found")
    vars(found)["worker_prefetch_multiplier"] = "lots"
    with pytest.raises(ConfigurationError) as raised:
        settings(found).resolve()
    assert str(raised.value) == (
        "setting 'worker_prefetch_multiplier' takes a whole number, not 'lots' of type str, "
        "as set in config module 'celeryconfig_found'"
    )


def test_a_wrong_secret_is_not_shown() -> None:
    with pytest.raises(SettingError) as raised:
        settings({"redis_password": 918273, "broker_url": ("redis://:918273@h",), "task_queues": "x"}).update(
            redis_password=918273
        )
    assert "918273" not in str(raised.value)
    assert raised.value.value == "'********'"


class TestOldNames:
    def test_a_source_with_old_names_only(self) -> None:
        conf = settings({"CELERY_TASK_RESULT_EXPIRES": 60, "BROKER_URL": "redis://h", "CELERYD_CONCURRENCY": 3})
        assert (conf.result_expires, conf.broker_url, conf.worker_concurrency) == (60.0, "redis://h", 3)
        assert conf.CELERYD_CONCURRENCY == 3
        with pytest.warns(DeprecationWarning) as warned:
            assert conf.maybe_warn_deprecated_settings()
        assert len(warned) == 3
        assert "'CELERYD_CONCURRENCY' of the setting 'worker_concurrency'" in str(warned[1].message)

    @pytest.mark.parametrize(
        ("source", "renames"),
        [
            ({"task_serializer": "json", "timezone": "UTC", "BROKER_URL": "x://"}, (("BROKER_URL", "broker_url"),)),
            (
                {"task_serializer": "json", "CELERYD_POOL": "solo", "BROKER_URL": "x://"},
                (("task_serializer", "CELERY_TASK_SERIALIZER"),),
            ),
        ],
    )
    def test_a_mixture_is_an_error_that_names_both(self, source: dict[str, Any], renames: Any) -> None:
        with pytest.raises(MixedNamesError) as raised:
            settings(source).resolve()
        assert raised.value.renames == renames
        old, new = renames[0]
        assert f"{old} -> {new}" in str(raised.value)

    def test_a_setting_under_both_its_names_is_no_mixture_and_the_new_one_counts(self) -> None:
        conf = settings({"broker_url": "new://", "BROKER_URL": "old://"})
        assert conf.broker_url == "new://"

    def test_they_can_be_assigned(self) -> None:
        conf = Settings({"BROKER_POOL_LIMIT": 4}, environ={})
        conf.CELERY_TASK_SERIALIZER = "yaml"
        assert (conf.broker_pool_limit, conf.task_serializer) == (4, "yaml")


class TestNamespace:
    def test_only_names_with_the_prefix_count(self) -> None:
        django = SimpleNamespace(
            CELERY_BROKER_URL="redis://h",
            CELERY_TASK_ALWAYS_EAGER="true",
            CELERY_ACKS_LATE=True,
            CELERY_EMAIL_BACKEND="x",
            CELERY_ONCE={"backend": "x"},
            TASK_SERIALIZER="yaml",
            task_serializer="yaml",
            DEBUG=True,
            TIME_ZONE="Asia/Tokyo",
        )
        conf = settings(django, namespace="CELERY")
        assert conf.broker_url == "redis://h"
        assert conf.task_always_eager is True
        assert conf.task_acks_late is True, "an old name that begins with the prefix"
        assert conf.task_serializer == "json"
        assert conf.timezone == "Asia/Tokyo"
        assert conf.CELERY_BROKER_URL == "redis://h"
        assert conf.once == {"backend": "x"}

    def test_the_settings_own_time_zone_wins_over_djangos(self) -> None:
        django = SimpleNamespace(CELERY_TIMEZONE="Europe/Rome", TIME_ZONE="Asia/Tokyo")
        assert settings(django, namespace="CELERY").timezone == "Europe/Rome"

    def test_a_typo_under_the_prefix_is_an_error(self) -> None:
        with pytest.raises(SettingError, match="did you mean 'task_always_eager'") as raised:
            settings(SimpleNamespace(CELERY_TASK_ALWAYS_EAGR=1), namespace="CELERY").resolve()
        assert "CELERY_TASK_ALWAYS_EAGR" in str(raised.value)

    def test_changes_may_bear_the_prefix_or_not(self) -> None:
        conf = Settings({"CELERY_TASK_IGNORE_RESULT": 1, "broker_pool_limit": 3}, namespace="CELERY", environ={})
        assert conf.task_ignore_result is True
        assert conf.broker_pool_limit == 3


class TestEnvironment:
    def test_variables_stand_above_everything(self) -> None:
        environ = {"CELERY_BROKER_URL": "redis://env", "CELERY_RESULT_BACKEND": "redis://env/1"}
        conf = Settings({"broker_url": "redis://change"}, environ=environ)
        assert conf.broker_url == conf["broker_url"] == "redis://env"
        assert conf.result_backend == "redis://env/1"
        assert (conf.broker_read_url, conf.broker_write_url) == ("redis://env", "redis://env")

    def test_reading_and_writing_may_differ(self) -> None:
        environ = {"CELERY_BROKER_READ_URL": "redis://r", "UMBEL_BROKER_WRITE_URL": "redis://w"}
        conf = Settings({"broker_url": "redis://change"}, environ=environ)
        assert (conf.broker_url, conf.broker_read_url, conf.broker_write_url) == (
            "redis://change",
            "redis://r",
            "redis://w",
        )

    def test_ours_wins_over_celerys_and_an_empty_one_is_not_set(self) -> None:
        environ = {
            "CELERY_BROKER_URL": "redis://theirs",
            "UMBEL_BROKER_URL": "redis://ours",
            "UMBEL_RESULT_BACKEND": "",
        }
        conf = Settings({"result_backend": "redis://change"}, environ=environ)
        assert (conf.broker_url, conf.result_backend) == ("redis://ours", "redis://change")

    def test_a_variable_names_the_config_module(self, module: Make) -> None:
        module("envconf", "task_serializer = 'yaml'")
        environ = {"CELERY_CONFIG_MODULE": "envconf", "MY_CONF": "envconf"}
        assert Settings(environ=environ).task_serializer == "yaml"
        named = Settings(environ=environ)
        assert named.set_envvar("MY_CONF") is True
        assert named.task_serializer == "yaml"

    def test_a_variable_that_is_not_set(self) -> None:
        conf = Settings(environ={})
        assert conf.set_envvar("MY_CONF", silent=True) is False
        with pytest.raises(ConfigurationError, match="'MY_CONF' is not set"):
            conf.set_envvar("MY_CONF")


class TestCommandLine:
    def test_words(self) -> None:
        conf = Settings(environ={})
        conf.set_cmdline(
            [
                "broker.pool_limit=5",
                "worker_prefetch_multiplier=3",
                ".concurrency=auto",
                "task_track_started=yes",
                'broker_transport_options=(json){"a": 1}',
                "accept_content=json,pickle",
                "broker_url=redis://h/0?a=b",
            ],
            namespace="worker",
        )
        assert conf.changes == {
            "broker_pool_limit": 5,
            "worker_prefetch_multiplier": 3,
            "worker_concurrency": "auto",
            "task_track_started": True,
            "broker_transport_options": {"a": 1},
            "accept_content": ["json", "pickle"],
            "broker_url": "redis://h/0?a=b",
        }

    @pytest.mark.parametrize(
        "word", ["broker_pool_limit", "=5", "broker_pool_limit=many", "broker_pool_limt=5", "task_routes=(json){"]
    )
    def test_wrong_words(self, word: str) -> None:
        conf = Settings(environ={})
        with pytest.raises(SettingError, match="the command line") as raised:
            conf.set_cmdline([word])
        assert raised.value.source == "the command line"
        assert conf.changes == {}
