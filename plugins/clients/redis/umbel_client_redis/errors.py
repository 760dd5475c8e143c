"""Errors of a Redis server and of the connection to it.

redis-py has the same, but its import takes longer and more memory than all the rest of a worker (60 ms and 12 MB): it
brings its asyncio client, its cluster client and every command.
"""

from __future__ import annotations


class RedisError(Exception):
    """The base of all.

    Attributes:
        code: the word by which the server tells the error, such as ``OOM``, where it was taken off the text.
    """

    code = ""


class Disconnected(RedisError):
    """There is no connection, or it is of no more use."""


class LoginRefused(Disconnected):
    """The user or the password is wrong, or missing."""


class Loading(Disconnected):
    """The server is starting and reads its data."""


class NoMaster(Disconnected):
    """No sentinel names a master that is one."""


class TimedOut(RedisError):
    """The server did not answer, or took nothing, for too long."""


class Garbled(RedisError):
    """What came is no reply of a Redis server."""


class ReplyError(RedisError):
    """The server refused a command."""


class NoScript(ReplyError):
    """The server has forgotten a script."""


_KINDS: dict[str, type[RedisError]] = {
    "ERR": ReplyError,
    "OOM": ReplyError,
    "READONLY": ReplyError,
    "NOPERM": ReplyError,
    "TRYAGAIN": ReplyError,
    "MOVED": ReplyError,
    "CLUSTERDOWN": ReplyError,
    "CROSSSLOT": ReplyError,
    "MASTERDOWN": ReplyError,
    "EXECABORT": ReplyError,
    "NOSCRIPT": NoScript,
    "LOADING": Loading,
    "WRONGPASS": LoginRefused,
    "NOAUTH": LoginRefused,
}
_LOGIN = ("invalid password", "AUTH <password> called without", "Client sent AUTH, but no password is set")


def from_reply(text: str) -> RedisError:
    """The error that a server's words mean; a code that tells the kind is taken off."""
    code, _, rest = text.partition(" ")
    kind = _KINDS.get(code)
    if kind is None:
        return ReplyError(text)
    if code == "ERR":
        if rest == "max number of clients reached":
            kind = Disconnected
        elif rest.startswith(_LOGIN):
            kind = LoginRefused
    error = kind(rest)
    error.code = "" if code == "ERR" else code
    return error
