"""The catalogue has every setting of Celery, rightly typed, and says what each does."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from celery.app import defaults as celery_defaults

from tests.config.reference_names import IN_DEFAULTS, READ_OR_DOCUMENTED
from umbel.config.catalogue.all import CATALOGUE, SECTIONS
from umbel.config.conversion import convert, kinds_of
from umbel.config.old_names import NEW_OF, OLD_OF

OUR_OWN = {
    "broker_publish_timeout",
    "worker_max_message_size",
    "worker_warm_shutdown_timeout",
    "worker_dead_letter_queue",
    "task_worker_lost_limit",
    "firestore_project",
}
OUR_DEFAULTS = {"beat_scheduler", "worker_autoscaler", "worker_consumer"}
"""Settings whose default in Celery is a class of Celery's."""


def test_the_reference_list_is_whole() -> None:
    assert len(IN_DEFAULTS) == len(set(IN_DEFAULTS)) == 207


@pytest.mark.parametrize("name", IN_DEFAULTS + READ_OR_DOCUMENTED)
def test_every_name_of_the_reference_is_known(name: str) -> None:
    assert name in CATALOGUE


def test_there_is_nothing_else() -> None:
    assert set(CATALOGUE) - set(IN_DEFAULTS) - set(READ_OR_DOCUMENTED) == OUR_OWN


def test_no_name_is_given_twice() -> None:
    assert sum(map(len, SECTIONS.values())) == len(CATALOGUE)


@pytest.mark.parametrize("name", sorted(set(celery_defaults.SETTING_KEYS) - OUR_DEFAULTS))
def test_defaults_are_those_of_the_installed_celery(name: str) -> None:
    theirs = celery_defaults.DEFAULTS[name]
    if isinstance(theirs, timedelta):
        theirs = theirs.total_seconds()
    assert CATALOGUE[name].default == theirs


def test_old_names_are_those_of_the_installed_celery() -> None:
    assert {name: OLD_OF[name] for name in celery_defaults.SETTING_KEYS} == celery_defaults._TO_OLD_KEY
    assert {old: NEW_OF[old] for old in celery_defaults._TO_NEW_KEY} == celery_defaults._TO_NEW_KEY


@pytest.mark.parametrize("name", CATALOGUE)
def test_each_setting_says_what_it_does_and_takes_its_own_default(name: str) -> None:
    setting = CATALOGUE[name]
    assert kinds_of(setting.type)
    assert re.fullmatch(r"[A-Z].{15,}\.", setting.help), "help is one sentence with a capital and a full stop"
    assert convert(setting, setting.default) == setting.default
    if setting.choices:
        assert setting.default in setting.choices
