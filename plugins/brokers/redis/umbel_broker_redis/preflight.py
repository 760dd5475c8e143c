"""Asks before the first message is taken whether this user may do all that taking and giving back need.

A script that is refused a command after others have run is not undone: a user who may take from a list and not write
down who holds what was taken would lose it.
"""

from __future__ import annotations

from umbel_broker_redis.layout import Layout
from umbel_client_redis import Address, Link, Script, run
from umbel_kernel.errors import ChannelError

CHECK = Script("""
local missing = {}
if not redis.acl_check_cmd then return missing end
local function check(key, ...)
  for _, command in ipairs({...}) do
    local name, rest = command[1], {}
    for i = 2, #command do rest[i - 1] = command[i] end
    local fine, may = pcall(redis.acl_check_cmd, name, key, unpack(rest))
    if not (fine and may) then
      missing[#missing + 1] = name
      missing[#missing + 1] = key
    end
  end
end
local fine, may = pcall(redis.acl_check_cmd, 'TIME')
if not (fine and may) then missing = {'TIME', ''} end
check(KEYS[1], {'ZINCRBY', 0, ''}, {'ZADD', 0, ''}, {'ZSCORE', ''}, {'ZREM', ''})
check(KEYS[2], {'HSET', '', ''}, {'HMGET', ''}, {'HDEL', ''}, {'EXISTS'})
for i = 3, #KEYS, 2 do
  check(KEYS[i], {'RPOP', 1}, {'LLEN'}, {'RPUSH', ''})
  check(KEYS[i + 1], {'ZADD', 0, ''}, {'ZRANGE', 0, 0}, {'ZRANGEBYSCORE', 0, 0}, {'ZREM', ''})
end
return missing
""")
"""The commands of the other scripts that this user may not run, each with its key, of ``umbel.consumers`` in KEYS[1],
the hash of what the consumer holds in KEYS[2], and the lists after them, each with the set of what waits beside it.
Servers before Redis 7 cannot be asked."""


def check(link: Link, address: Address, layout: Layout, identity: str, queues: list[str], timeout: float) -> None:
    """See that the user may do what a consumer of these queues does.

    Raises:
        ChannelError: something is not permitted; the message says what.
        OperationalError: the connection is lost.
    """
    lists = [each for queue in queues for key in layout.keys(queue) for each in (key, layout.parked(key))]
    found = link.ask(*run(CHECK, (layout.consumers, layout.held(identity), *lists)), timeout=timeout)
    by_key: dict[str, list[str]] = {}
    for name, key in zip(found[::2], found[1::2], strict=True):
        by_key.setdefault(key.decode("utf-8", "replace"), []).append(name.decode())
    if by_key:
        said = "; ".join(f"{', '.join(names)} on {key!r}" if key else names[0] for key, names in by_key.items())
        raise ChannelError(
            f"the user {address.user!r} of Redis at {address.shown} may not run {said}; nothing is taken before that "
            "is permitted, because it could be lost. The README of this plugin has the rule that such a user needs"
        )
