"""Connecting, closing and what a backend says of itself."""

from __future__ import annotations

import traceback

import pytest

from umbel_kernel.errors import OperationalError
from umbel_kernel.setting import Setting
from umbel_kernel.spi.backend import Backend, BackendCapability
from umbel_testkit.backend.case import BackendCase, MakeBackend
from umbel_testkit.waiting import Stopwatch


class ConnectionSuite(BackendCase):
    """Connecting, closing and what a backend says of itself."""

    def test_capabilities_are_capabilities(self, make_backend: MakeBackend) -> None:
        capabilities = type(make_backend()).capabilities
        assert isinstance(capabilities, frozenset)
        assert all(isinstance(capability, BackendCapability) for capability in capabilities)

    def test_settings_are_described(self, make_backend: MakeBackend) -> None:
        settings = type(make_backend()).settings
        assert all(isinstance(setting, Setting) for setting in settings)
        assert all(setting.name.isidentifier() and setting.help.strip() for setting in settings)
        assert len({setting.name for setting in settings}) == len(settings)
        assert {setting.type for setting in settings} <= {"bool", "int", "float", "str", "list", "dict", "any"}

    def test_reply_to_is_there_when_claimed(self, reader: Backend, writer: Backend) -> None:
        if BackendCapability.REPLY_TO in reader.capabilities:
            assert reader.reply_to
            assert reader.reply_to == reader.reply_to
        else:
            assert reader.reply_to is None

    def test_connect_twice_is_harmless(self, reader: Backend, task_id: str) -> None:
        reader.connect(timeout=self.patience)
        reader.store([self.record(reader, task_id, "SUCCESS")])
        self.states(reader, [task_id], ["SUCCESS"])

    def test_close_twice_is_harmless(self, reader: Backend) -> None:
        reader.close()
        reader.close()

    def test_close_without_connect_is_harmless(self, make_backend: MakeBackend) -> None:
        make_backend().close()

    def test_unreachable_is_said_in_time_and_keeps_the_password(self, make_unreachable: MakeBackend | None) -> None:
        if make_unreachable is None:
            pytest.skip("make_unreachable is None: an embedded store is always reachable")
        backend = make_unreachable()
        password = backend.url.password
        assert password, "make_unreachable has to give a URL with a password"
        with Stopwatch() as watch, pytest.raises(OperationalError) as caught:
            backend.connect(timeout=1.0)
        assert watch.seconds < 1.0 + self.quiet + 1.0
        assert backend.url.masked() in str(caught.value), "the message has to say where, with the masked URL"
        assert password not in "".join(traceback.format_exception(caught.value))
        backend.close()
