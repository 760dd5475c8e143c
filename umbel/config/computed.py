"""Settings whose value follows from others, or from the environment, when they are not set."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from umbel.config.environment import variable
from umbel.model.later import Later

parse = Later("urllib.parse")

Values = Mapping[str, Any]


def _broker_url(values: Values, environ: Mapping[str, str]) -> Any:
    return variable(environ, "broker_url") or values["broker_url"] or _from_parts(values)


def _read_url(values: Values, environ: Mapping[str, str]) -> Any:
    return variable(environ, "broker_read_url") or values["broker_read_url"] or _broker_url(values, environ)


def _write_url(values: Values, environ: Mapping[str, str]) -> Any:
    return variable(environ, "broker_write_url") or values["broker_write_url"] or _broker_url(values, environ)


def _result_backend(values: Values, environ: Mapping[str, str]) -> Any:
    return variable(environ, "result_backend") or values["result_backend"]


def _exchange(values: Values, environ: Mapping[str, str]) -> Any:
    given = values["task_default_exchange"]
    return values["task_default_queue"] if given is None else given


def _routing_key(values: Values, environ: Mapping[str, str]) -> Any:
    given = values["task_default_routing_key"]
    return values["task_default_queue"] if given is None else given


def _from_parts(values: Values) -> str | None:
    """The URL that broker_host and its companions describe."""
    host = values["broker_host"]
    if not host:
        return None
    if "://" in host:
        return str(host)
    user, password, port = values["broker_user"], values["broker_password"], values["broker_port"]
    who = parse.quote(user, safe="") if user else ""
    if password:
        who += f":{parse.quote(password, safe='')}"
    where = f"{who}@{host}" if who else str(host)
    if port is not None:
        where += f":{port}"
    vhost = values["broker_vhost"]
    path = f"/{parse.quote(vhost, safe='/') if vhost != '/' else '/'}" if vhost else ""
    return f"{values['broker_transport'] or 'amqp'}://{where}{path}"


COMPUTED: Mapping[str, Callable[[Values, Mapping[str, str]], Any]] = {
    "broker_url": _broker_url,
    "broker_read_url": _read_url,
    "broker_write_url": _write_url,
    "result_backend": _result_backend,
    "task_default_exchange": _exchange,
    "task_default_routing_key": _routing_key,
}
"""Each of these settings to the function of the plain values and the environment that gives its value."""
