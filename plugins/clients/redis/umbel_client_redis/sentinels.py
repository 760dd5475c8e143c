"""A group of Redis Sentinels, which say where the master is at the moment.

redis-py asks them; so this is imported where sentinels are named.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import redis.backoff
import redis.exceptions
import redis.retry
import redis.sentinel

from umbel_client_redis.address import Address
from umbel_client_redis.connection import Connection
from umbel_client_redis.errors import NoMaster, RedisError
from umbel_client_redis.tls import checks_of
from umbel_client_redis.trouble import said
from umbel_kernel.errors import ConfigurationError
from umbel_kernel.url import URL

_PORT = 26379


class Sentinels(Address):
    """``sentinel://user:password@host:port/db;sentinel://host2``: each connection goes to whoever is master then.

    As in Celery, user, password, database and query are those of the first URL and mean the master; what the sentinels
    themselves ask for stands in ``sentinel_kwargs``. A client does what Redis' guidelines for sentinel clients say: the
    sentinels are asked in turn, the one that answered first, and the server is asked whether it is the master.

    Args:
        url: its ``raw`` has all the URLs, with ``;`` between them.
        master_name: what the sentinels call the master.
        min_other_sentinels: how many others a sentinel has to see before it is believed.
        sentinel_kwargs: arguments of ``redis.Redis`` for the connections to the sentinels.
        more: as for ``Address``.

    Raises:
        ConfigurationError: as for ``Address``, or the master's name is missing, or the URLs contradict one another.
    """

    _schemes = ("sentinel",)

    def __init__(
        self,
        url: URL,
        *,
        master_name: str | None,
        min_other_sentinels: int = 0,
        sentinel_kwargs: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> None:
        super().__init__(url, **more)
        urls = [URL.parse(text) for text in url.raw.split(";") if text.strip()] or [url]
        self.shown = ";".join(each.masked() for each in urls)
        if not master_name:
            raise ConfigurationError(
                f"{self.shown} needs the name of the master: set master_name in the transport options, "
                "as in {'master_name': 'mymaster'}"
            )
        for each in urls:
            if each.scheme != "sentinel":
                raise ConfigurationError(f"{self.shown} mixes sentinels with something else")
            place = each.path.strip("/")
            if place and place != str(self.db):
                raise ConfigurationError(
                    f"{self.shown} names several databases; that of the first URL counts, so name it there"
                )
        self._name = master_name
        if isinstance(min_other_sentinels, bool) or not isinstance(min_other_sentinels, int):
            raise ConfigurationError(f"min_other_sentinels is {min_other_sentinels!r}; it has to be a number")
        self._least = min_other_sentinels
        self._said = {
            "protocol": 2,
            "retry": redis.retry.Retry(redis.backoff.NoBackoff(), 0),
            **dict(sentinel_kwargs or {}),
        }
        if "ssl_cert_reqs" in self._said:
            self._said["ssl_cert_reqs"] = checks_of(self._said["ssl_cert_reqs"])
        try:
            redis.Redis(**self._said).close()
        except TypeError as error:
            raise ConfigurationError(f"sentinel_kwargs is for redis.Redis, which says: {error}") from error
        self._hosts = [(each.host or "127.0.0.1", each.port or _PORT) for each in urls]

    def open(self, timeout: float) -> Connection:
        """See ``Address.open``.

        Raises:
            NoMaster: no sentinel answers or knows a healthy master, or it is none any more.
        """
        end = time.monotonic() + timeout
        host, port = self._master(end)
        connection = self.connection(max(0.05, end - time.monotonic()))
        connection.host, connection.port = host, port
        try:
            connection.connect()
            self._check_role(connection)
        except BaseException:
            connection.disconnect()
            raise
        return connection

    def where(self, connection: Connection | None) -> str:
        """See ``Address.where``."""
        if connection is None:
            return f"{self.shown} (master {self._name})"
        return f"{connection.host}:{connection.port}, which {self.shown} name as master {self._name}"

    def _master(self, end: float) -> tuple[str, int]:
        reasons: list[str] = []
        hosts = list(self._hosts)
        for number, place in enumerate(hosts):
            share = max(0.05, (end - time.monotonic()) / (len(hosts) - number))
            limits = {"socket_timeout": share, "socket_connect_timeout": share}
            make: Any = redis.sentinel.Sentinel
            group = make([place], min_other_sentinels=self._least, sentinel_kwargs={**limits, **self._said})
            sentinel = group.sentinels[0]
            try:
                masters: Mapping[str, Any] = sentinel.sentinel_masters()
                state = masters.get(self._name)
                if state is not None and group.check_master_state(state, self._name):
                    self._hosts = [place, *(each for each in hosts if each != place)]
                    return str(state["ip"]), int(state["port"])
                reasons.append(f"{place[0]}:{place[1]} {self._doubt(masters)}")
            except redis.exceptions.ResponseError as error:
                reasons.append(f"{place[0]}:{place[1]} refuses, so it may be no sentinel: {said(error)}")
            except (redis.exceptions.RedisError, OSError) as error:
                reasons.append(f"{place[0]}:{place[1]} does not answer: {said(error)}")
            finally:
                sentinel.close()
        raise NoMaster(f"no sentinel names a healthy master {self._name!r}: {'; '.join(reasons)}")

    def _doubt(self, masters: Mapping[str, Any]) -> str:
        """Why a sentinel that answered is of no help."""
        state = masters.get(self._name)
        if state is None:
            return f"knows only {', '.join(sorted(masters)) or 'no master at all'}"
        if state["num-other-sentinels"] < self._least:
            return f"sees {state['num-other-sentinels']} other sentinels, fewer than min_other_sentinels"
        return "says that it is down"

    def _check_role(self, connection: Connection) -> None:
        (role,) = connection.exchange([("ROLE",)])
        if isinstance(role, RedisError):
            return  # this user may not ask; a replica refuses the first write
        if role[0] != b"master":
            raise NoMaster(
                f"the sentinels still name {connection.host}:{connection.port} as master {self._name!r}, "
                "which is a replica now"
            )
