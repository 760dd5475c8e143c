"""What an error of Redis means: whether it passes, and what a person can do about it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from umbel_client_redis.errors import Garbled, Loading, LoginRefused, NoMaster, RedisError, ReplyError, TimedOut
from umbel_client_redis.script import Script
from umbel_kernel.url import mask

_LEADING = re.compile(r"\A-?([A-Z]{3,}) ")
# Before Redis 7 the error of a command within a script is quoted in the script's own.
_QUOTED = re.compile(r"-(OOM|READONLY|MISCONF|NOREPLICAS|MASTERDOWN|NOPERM|TRYAGAIN|CLUSTERDOWN) ")
_PASSING = {
    "OOM": "its memory is full (maxmemory): give it more, or let what lies in it be worked off",
    "MISCONF": "it cannot save to its disk and takes no writes until it can; its log says why",
    "NOREPLICAS": "too few replicas are connected to it (min-replicas-to-write)",
    "BUSY": "a script keeps it busy",
    "TRYAGAIN": "it is moving keys",
    "CLUSTERDOWN": "its cluster is down",
    "READONLY": "it is a replica, which takes no writes; name its master, or the sentinels that know it",
    "MASTERDOWN": "it is a replica that has lost its master",
}
_NO_MASTER = ("READONLY", "MASTERDOWN")
_PLACE = re.compile(r" script: \w+, on @user_script:\d+\.?")
_LINE = re.compile(r"user_script:\s?(\d+)")
_CALL = re.compile(r"redis\.p?call\('(\w+)'")
_MANY = ("DEL", "UNLINK", "EXISTS", "MGET", "SUBSCRIBE", "PSUBSCRIBE", "UNSUBSCRIBE", "PUNSUBSCRIBE")
_CUT = re.compile(r"(?i)closed|reset by peer|broken pipe|\bEOF\b")
_SHOWN = 8


def code(error: BaseException) -> str:
    """The word by which Redis tells an error, such as ``OOM``; empty when it has none of its own."""
    if isinstance(error, RedisError) and error.code:
        return error.code
    found = _LEADING.match(str(error)) or _QUOTED.search(str(error))
    return found[1] if found else ""


def is_no_master(error: BaseException) -> bool:
    """Whether this server is a replica, so that another connection is needed."""
    return code(error) in _NO_MASTER


class Refused(ReplyError):
    """A command that the server refused, in words that say what is missing.

    Attributes:
        passes: whether the same command may be taken later, without anybody changing it.
    """

    passes = False


def refused(error: BaseException, command: Sequence[Any], user: str, scripts: Sequence[Script]) -> Refused:
    """What a refusal of this command means."""
    found = Refused(_refusal(error, command, user, scripts))
    found.passes = code(error) in _PASSING
    return found


def _refusal(error: BaseException, command: Sequence[Any], user: str, scripts: Sequence[Script]) -> str:
    text = said(error)
    word = code(error)
    if word in _PASSING:
        return f"{text}: {_PASSING[word]}"
    if word in ("MOVED", "CROSSSLOT"):
        return f"{text}: it is part of a Redis Cluster, which this plugin does not speak to"
    if word == "NOPERM" or "user executing the script" in text:
        return f"{_permission(str(error), command, user, scripts)} ({text})"
    if text.startswith("unknown command"):
        return f"{text}; it is too old, or the command is renamed or forbidden there"
    return text


def unreachable(error: BaseException, *, encrypted: bool, db: int, user: str) -> str:
    """Why there is no connection, or none any more, and what to look at."""
    text = said(error)
    for cause in _causes(error):
        # By name, so that nobody without TLS imports its library.
        kinds = {kind.__name__ for kind in type(cause).__mro__}
        if "SSLCertVerificationError" in kinds:
            if "ostname mismatch" in str(cause) or "IP address mismatch" in str(cause):
                return f"{text}; its certificate is for another name: use that one, or set ssl_check_hostname to false"
            return f"{text}; its certificate is not trusted here: name its authority's certificate in ssl_ca_certs"
        if "SSLError" in kinds:
            return f"{text}; {_tls(str(cause))}"
        if isinstance(cause, FileNotFoundError | PermissionError) and encrypted:
            return f"{text}; look at the paths in ssl_ca_certs, ssl_certfile and ssl_keyfile"
        if isinstance(cause, PermissionError):
            return f"{text}; this process may not open that socket"
    if isinstance(error, NoMaster):
        return text
    if isinstance(error, Loading):
        return f"{text}; it is starting and will answer when it has read its data"
    if isinstance(error, LoginRefused):
        return f"{text}; check the password of user {user!r}"
    if "max number of clients" in text:
        return f"{text}; raise its maxclients, or close connections"
    if "DB index is out of range" in text or "invalid DB index" in text:
        return f"{text}: there is no database {db}; the server's own setting `databases` says how many there are"
    if isinstance(error, Garbled):
        return f"{text}; what answers there is no Redis server, or speaks TLS"
    if is_no_master(error):
        return f"{text}: {_PASSING[code(error)]}"
    if isinstance(error, ReplyError):
        return f"{text} (user {user!r})" if code(error) == "NOPERM" else text
    if _CUT.search(text):
        hint = "does it ask for a certificate of ours (ssl_certfile)" if encrypted else "is it without TLS (rediss://)"
        return f"{text}; is it running, and {hint}?"
    if encrypted and isinstance(error, TimedOut):
        return f"{text}; is it running, and does it speak TLS at that port?"
    return f"{text}; is it running?"


def said(error: BaseException) -> str:
    """The server's words without the place in a script, and without arguments, of which one may be a password."""
    return _PLACE.sub("", mask(str(error))).partition(", with args")[0].rstrip(". ") or type(error).__name__


def _permission(said: str, command: Sequence[Any], user: str, scripts: Sequence[Script]) -> str:
    name = _text(command[0]).upper() if command else ""
    keys = [_text(each) for each in (command[1:] if name in _MANY else command[1:2])]
    script = next((each for each in scripts if name == "EVALSHA" and each.sha == command[1]), None)
    if name == "EVALSHA":
        keys = [_text(each) for each in command[3 : 3 + int(command[2])]]
        line = _LINE.search(said)
        found = _CALL.search(script.text.split("\n")[int(line[1]) - 1]) if script is not None and line else None
        if found:
            name = found[1].upper()
    elif len(command) > 1 and "|" in said:
        name = f"{name}|{_text(command[1]).upper()}"
    some = ", ".join(repr(key) for key in keys[:_SHOWN]) + (" and more" if len(keys) > _SHOWN else "")
    if "channel" in said:
        return f"the user {user!r} lacks the permission (&) for one of the channels of {name}: {some}"
    if "key" in said:
        return f"the user {user!r} lacks the permission (~) for one of the keys of {name}: {some}"
    return f"the user {user!r} lacks the permission +{name.lower()}"


def _tls(said: str) -> str:
    if "WRONG_VERSION_NUMBER" in said or "UNEXPECTED_MESSAGE" in said or "RECORD_LAYER" in said:
        return "it does not speak TLS at that port: without it the URL begins with redis://"
    if _CUT.search(said):
        return "is it running, and does it ask for a certificate of ours (ssl_certfile)?"
    if "CERTIFICATE_REQUIRED" in said or "HANDSHAKE_FAILURE" in said:
        return "it asks for a certificate of ours: name it in ssl_certfile and its key in ssl_keyfile"
    if "UNKNOWN_CA" in said or "BAD_CERTIFICATE" in said or "CERTIFICATE_UNKNOWN" in said:
        return "it does not trust the certificate in ssl_certfile"
    return "look at the TLS options, whose names begin with ssl_"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
