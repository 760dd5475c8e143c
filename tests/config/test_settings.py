"""The layers, and the ways of asking them and changing them."""

from __future__ import annotations

import copy
import threading
from typing import Any

import pytest

from umbel.config.errors import SettingError
from umbel.config.settings import Settings
from umbel_kernel.errors import ConfigurationError
from umbel_kernel.setting import Setting


@pytest.fixture
def conf() -> Settings:
    return Settings(environ={})


def test_layers_from_weakest_to_strongest(conf: Settings) -> None:
    conf.set_source({})
    assert conf.task_serializer == "json"
    conf.setdefault("task_serializer", "fallback")
    assert conf.task_serializer == "fallback"
    conf.set_source({"task_serializer": "source"})
    assert conf.task_serializer == "source"
    conf.setdefault("task_serializer", "other")
    assert conf.task_serializer == "source"
    conf.add_defaults({"task_serializer": "added"})
    conf.add_defaults(lambda: {"task_serializer": "added later"})
    assert conf.task_serializer == "added later"
    conf.task_serializer = "changed"
    assert conf.task_serializer == "changed"
    del conf["task_serializer"]
    assert conf.task_serializer == "added later"


def test_changes_made_before_the_source_is_read_survive_it(conf: Settings) -> None:
    conf.task_serializer = "mine"
    conf.set_source({"task_serializer": "source", "timezone": "Europe/Rome"})
    assert (conf.task_serializer, conf.timezone) == ("mine", "Europe/Rome")


def test_a_new_source_drops_changes_made_since_the_first_was_read(conf: Settings) -> None:
    conf.update(task_compression="gzip")
    conf.resolve()
    conf.update(task_serializer="changed")
    conf.set_source({"worker_concurrency": 2})
    assert (conf.task_serializer, conf.task_compression, conf.worker_concurrency) == ("json", "gzip", 2)


def test_attributes_and_items_are_one(conf: Settings) -> None:
    conf["broker_pool_limit"] = "3"
    assert conf.broker_pool_limit == conf["broker_pool_limit"] == conf.get("broker_pool_limit") == 3
    assert dict(conf.items())["broker_pool_limit"] == 3
    assert set(conf.keys()) == set(conf) and len(conf) == len(list(conf.values()))


def test_update_is_all_or_nothing(conf: Settings) -> None:
    with pytest.raises(SettingError):
        conf.update({"task_serializer": "yaml"}, broker_pool_limit="many")
    assert conf.changes == {}


@pytest.mark.parametrize("change", [{"nothing_of_ours": 1}, {"task_serialiser": "x"}, {"TASK_SERIALIZER": "x"}])
def test_unknown_names_are_refused_on_assignment(conf: Settings, change: dict[str, Any]) -> None:
    ((name, value),) = change.items()
    with pytest.raises(SettingError, match=name):
        setattr(conf, name, value)
    with pytest.raises(SettingError, match=name):
        conf.update(change)
    with pytest.raises(SettingError, match=name):
        Settings(change, environ={})
    with pytest.raises(SettingError, match=name):
        conf.add_defaults(change)


def test_unknown_names_are_absent_when_read(conf: Settings) -> None:
    assert not hasattr(conf, "task_serialiser")
    with pytest.raises(AttributeError, match="did you mean 'task_serializer'"):
        _ = conf.task_serialiser
    with pytest.raises(KeyError, match="did you mean 'task_serializer'"):
        conf["task_serialiser"]
    assert conf.get("task_serialiser", 5) == 5
    assert "task_serialiser" not in conf


def test_a_method_is_not_a_setting(conf: Settings) -> None:
    with pytest.raises(AttributeError, match="not a setting"):
        conf.update = 5  # type: ignore[method-assign, assignment]


def test_names_of_ones_own_are_let_through(conf: Settings) -> None:
    conf.allow("mine", "shop_")
    conf.update(mine=1, shop_open=True)
    conf.set_source({"shop_closed": False})
    assert (conf.mine, conf.shop_open, conf.shop_closed) == (1, True, False)


def test_clear_takes_changes_back_only(conf: Settings) -> None:
    conf.set_source({"task_serializer": "source"})
    conf.update(task_serializer="changed", timezone="UTC")
    conf.clear()
    assert (conf.task_serializer, conf.timezone, conf.changes) == ("source", None, {})
    with pytest.raises(KeyError):
        del conf["timezone"]


def test_a_dict_default_is_the_apps_own(conf: Settings) -> None:
    conf.beat_schedule["tidy"] = {"task": "tidy"}
    assert conf.beat_schedule == {"tidy": {"task": "tidy"}}
    assert Settings(environ={}).beat_schedule == {}


def test_computed_values(conf: Settings) -> None:
    assert conf.broker_url is None
    conf.update(task_default_queue="shop", broker_host="h", broker_user="u", broker_password="p/w", broker_port=1)
    assert (conf.task_default_exchange, conf.task_default_routing_key) == ("shop", "shop")
    assert conf.broker_write_url == conf.broker_url == "amqp://u:p%2Fw@h:1"
    conf.update(broker_vhost="/", broker_transport="pyamqp", task_default_exchange="")
    assert conf.broker_url == "pyamqp://u:p%2Fw@h:1//"
    assert conf.task_default_exchange == "", "the nameless exchange is not an unset one"
    conf.broker_url = ["redis://a", "redis://b"]
    assert conf.broker_read_url == ["redis://a", "redis://b"]


def test_time_zones(conf: Settings) -> None:
    conf.timezone = "Europe/London"
    with pytest.raises(SettingError, match="such as 'Europe/London'"):
        conf.timezone = "Europe/Lonndon"
    assert conf.timezone == "Europe/London"


def test_asking_by_the_end_of_a_name(conf: Settings) -> None:
    conf.worker_concurrency = 3
    assert conf.find_value_for_key("concurrency", "worker") == 3
    assert conf.find_value_for_key("concurrency") == 3
    assert conf.find_value_for_key("timezone") is None
    assert conf.find_option("disable_rate_limits")[:2] == ("worker", "disable_rate_limits")
    assert conf.get_by_parts("worker", "concurrency") == 3
    assert conf.first("timezone", "unknown", "worker_concurrency") == 3
    assert conf.first("timezone") is None
    with pytest.raises(KeyError):
        conf.find_option("nothing")


def test_what_was_set(conf: Settings) -> None:
    conf.set_source({"timezone": "UTC"})
    conf.task_serializer = "json"
    assert conf.without_defaults() == {"timezone": "UTC", "task_serializer": "json"}
    assert conf.value_set_for("CELERY_TIMEZONE")
    assert not conf.value_set_for("task_acks_late")


def test_a_copy_is_on_its_own(conf: Settings) -> None:
    conf.update(timezone="UTC")
    twin = copy.copy(conf)
    twin.timezone = "Europe/Rome"
    twin.beat_schedule["x"] = {}
    assert (conf.timezone, conf.beat_schedule) == ("UTC", {})
    assert twin.timezone == "Europe/Rome"


class TestResolve:
    def test_callbacks_run_once_with_the_settings(self, conf: Settings) -> None:
        seen: list[tuple[str, str]] = []
        conf.before_resolve.append(lambda settings: settings.set_source({"timezone": "Europe/Rome"}))
        conf.on_resolve.append(lambda settings: seen.append(("resolved", settings.timezone)))
        assert conf.timezone == "Europe/Rome"
        conf.set_source({"timezone": "UTC"})
        assert conf.resolve() is conf
        assert conf.timezone == "UTC"
        assert seen == [("resolved", "Europe/Rome")]

    def test_reading_while_being_read_is_an_error(self, conf: Settings) -> None:
        conf.add_defaults(lambda: {"timezone": conf.task_serializer})
        with pytest.raises(ConfigurationError, match="while it is being read"):
            conf.resolve()

    def test_an_error_comes_again_until_it_is_mended(self, conf: Settings) -> None:
        broken = {"timezone": 5}
        conf.set_source(broken)
        for _ in range(2):
            with pytest.raises(SettingError):
                _ = conf.task_serializer
        broken["timezone"] = "UTC"  # type: ignore[assignment]
        assert conf.timezone == "UTC"

    def test_many_threads_read_the_source_once(self, conf: Settings) -> None:
        calls: list[int] = []
        conf.add_defaults(lambda: calls.append(1) or {"timezone": "UTC"})  # type: ignore[func-returns-value]
        gate = threading.Barrier(8)
        got: list[Any] = []

        def ask() -> None:
            gate.wait(10)
            got.append(conf.timezone)

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        assert (got, calls) == (["UTC"] * 8, [1])


class TestDeclare:
    LIMIT = Setting("memory_shelf", "int", 10, "How long the shelf is.")

    def test_a_plugins_settings(self, conf: Settings) -> None:
        conf.declare([self.LIMIT], "broker 'memory'")
        assert conf.memory_shelf == 10
        conf.memory_shelf = "5"
        assert conf.memory_shelf == 5
        with pytest.raises(SettingError):
            conf.memory_shelf = "long"

    def test_what_was_set_before_the_plugin_is_loaded_is_checked_when_it_is(self, conf: Settings) -> None:
        conf.set_source({"memory_shelf": "7"})
        assert conf.undeclared() == ("memory_shelf",)
        conf.declare([self.LIMIT], "broker 'memory'")
        assert (conf.memory_shelf, conf.undeclared()) == (7, ())

    def test_what_was_set_wrong_is_an_error_that_says_where(self, conf: Settings) -> None:
        conf.set_source({"memory_shelf": "long"})
        conf.resolve()
        with pytest.raises(SettingError, match=r"'memory_shelf' takes a whole number, not 'long'.*the config dict"):
            conf.declare([self.LIMIT], "broker 'memory'")

    def test_a_typo_of_a_known_name_is_not_taken_for_a_plugins(self, conf: Settings) -> None:
        with pytest.raises(SettingError, match="did you mean 'redis_socket_timeout'"):
            conf.redis_socket_timeot = 5

    def test_twice_the_same_is_fine_and_a_quarrel_is_not(self, conf: Settings) -> None:
        conf.declare([self.LIMIT], "broker 'memory'")
        conf.declare([self.LIMIT], "backend 'memory'")
        with pytest.raises(ConfigurationError, match=r"broker 'memory'.*backend 'memory'"):
            conf.declare([Setting("memory_shelf", "str", "", "Where the shelf is.")], "backend 'memory'")

    def test_the_catalogue_stays_as_it_is(self, conf: Settings) -> None:
        conf.declare([Setting("redis_socket_timeout", "int", 5, "Seconds.")], "backend 'redis'")
        assert conf.redis_socket_timeout == 120.0

    def test_a_type_that_does_not_exist(self, conf: Settings) -> None:
        with pytest.raises(ConfigurationError, match="'integer' is not the name of a type"):
            conf.declare([Setting("memory_shelf", "integer", 1, "How long.")], "broker 'memory'")
