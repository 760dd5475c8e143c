"""What is said of a server's refusals, also of servers that are older or newer than the one here."""

from __future__ import annotations

import pytest

from umbel_client_redis import Script, run
from umbel_client_redis.errors import from_reply
from umbel_client_redis.trouble import is_no_master, refused, unreachable

TAKE = Script("local one = 1\nredis.call('RPOP', KEYS[1])\nredis.call('HSET', KEYS[2], 'a', 'b')")
TAKEN = run(TAKE, ("list", "hash"), 7)


@pytest.mark.parametrize(
    ("reply", "command", "said"),
    [
        (
            "NOPERM this user has no permissions to run the 'lpush' command",
            ("LPUSH", "tasks", b"x"),
            "the user 'me' lacks the permission +lpush",
        ),
        (
            "NOPERM User me has no permissions to run the 'client|tracking' command",
            ("CLIENT", "TRACKING", "ON"),
            "the user 'me' lacks the permission +client|tracking",
        ),
        (
            "NOPERM No permissions to access a key",
            ("DEL", "a", b"b"),
            "the user 'me' lacks the permission (~) for one of the keys of DEL: 'a', 'b'",
        ),
        (
            "NOPERM No permissions to access a channel",
            ("PUBLISH", "news", b"x"),
            "the user 'me' lacks the permission (&) for one of the channels of PUBLISH: 'news'",
        ),
        (
            "ERR The user executing the script can't run this command or subcommand script: 12ab, on @user_script:3.",
            TAKEN,
            "the user 'me' lacks the permission +hset",
        ),
        (
            "ERR The user executing the script can't access at least one of the keys mentioned in the command "
            "arguments script: 12ab, on @user_script:2.",
            TAKEN,
            "the user 'me' lacks the permission (~) for one of the keys of RPOP: 'list', 'hash'",
        ),
        (
            "ERR Error running script (call to f_12ab): @user_script:3: @user_script: 3: "
            "-NOPERM this user has no permissions to run the 'hset' command or its subcommand ",
            TAKEN,
            "the user 'me' lacks the permission +hset",
        ),
        (
            "ERR unknown command `HELLO`, with args beginning with: `3`, `seecret`",
            ("HELLO", 3),
            "unknown command `HELLO`;",
        ),
        ("MOVED 3999 127.0.0.1:6381", ("GET", "a"), "it is part of a Redis Cluster"),
        ("CROSSSLOT Keys in request don't hash to the same slot", ("DEL", "a", "b"), "it is part of a Redis Cluster"),
        ("WRONGTYPE Operation against a key holding the wrong kind of value", ("GET", "a"), "WRONGTYPE Operation"),
    ],
)
def test_what_needs_a_person_says_what_is_missing(reply: str, command: tuple[object, ...], said: str) -> None:
    found = refused(from_reply(reply), command, "me", (TAKE,))
    assert str(found).startswith(said) or said in str(found)
    assert not found.passes
    assert "seecret" not in str(found)


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        ("OOM command not allowed when used memory > 'maxmemory'.", "its memory is full (maxmemory)"),
        (
            "ERR Error running script (call to f_12ab): @user_script:3: @user_script: 3: "
            "-OOM command not allowed when used memory > 'maxmemory'. ",
            "its memory is full (maxmemory)",
        ),
        ("MISCONF Redis is configured to save RDB snapshots, but it's unable to persist to disk.", "cannot save"),
        ("MISCONF Errors writing to the AOF file: No space left on device", "cannot save to its disk"),
        ("NOREPLICAS Not enough good replicas to write.", "too few replicas"),
        ("BUSY Redis is busy running a script. You can only call SCRIPT KILL", "a script keeps it busy"),
        ("TRYAGAIN Multiple keys request during rehashing of slot", "it is moving keys"),
        ("CLUSTERDOWN Hash slot not served", "its cluster is down"),
    ],
)
def test_what_passes_is_marked(reply: str, said: str) -> None:
    found = refused(from_reply(reply), ("LPUSH", "a", "b"), "me", ())
    assert said in str(found) and found.passes


@pytest.mark.parametrize(
    "reply",
    [
        "READONLY You can't write against a read only replica.",
        "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
        "ERR Error running script (call to f_12ab): @user_script:3: -READONLY You can't write against a replica. ",
    ],
)
def test_a_replica_is_recognised(reply: str) -> None:
    error = from_reply(reply)
    assert is_no_master(error)
    assert "it is a replica" in unreachable(error, encrypted=False, db=0, user="me")


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        ("WRONGPASS invalid username-password pair or user is disabled.", "check the password of user 'me'"),
        ("NOAUTH Authentication required.", "check the password of user 'me'"),
        ("ERR invalid password", "check the password of user 'me'"),
        ("ERR max number of clients reached", "raise its maxclients"),
        ("ERR DB index is out of range", "there is no database 9"),
        ("ERR invalid DB index", "there is no database 9"),
        ("LOADING Redis is loading the dataset in memory", "it is starting and will answer"),
        ("NOPERM this user has no permissions to run the 'select' command", "the 'select' command (user 'me')"),
    ],
)
def test_a_refused_connection_says_what_to_look_at(reply: str, said: str) -> None:
    assert said in unreachable(from_reply(reply), encrypted=False, db=9, user="me")
