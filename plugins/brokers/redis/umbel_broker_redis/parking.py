"""What a consumer gave back until a later time waits in a sorted set beside the list that it came from.

Only umbel knows of it, so nobody but its consumers brings it to the list when its time has come. That is why the last
of them that reads a queue puts everything back when it ends: Celery's workers hold a task until its time by themselves.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Any

from umbel_broker_redis.layout import Layout
from umbel_broker_redis.lease import Lease
from umbel_client_redis import Link, Script, run
from umbel_kernel.errors import ChannelError

logger = logging.getLogger("umbel.broker.redis")

PARK = Script("""
redis.call('HDEL', KEYS[1], '')
local now = redis.call('TIME')
local ms = now[1] * 1000 + math.floor(now[2] / 1000)
for i = 2, #ARGV, 3 do
  local raw = redis.call('HMGET', KEYS[1], ARGV[i])[1]
  if raw then
    local mark = string.format('%s%015d\\n', ARGV[1], string.match(ARGV[i], '^%d+'))
    redis.call('ZADD', KEYS[ARGV[i + 1] + 2], ms + ARGV[i + 2], mark .. raw)
    redis.call('HDEL', KEYS[1], ARGV[i])
  end
end
return 1
""")
"""Of what a consumer holds in the hash KEYS[1], move each field ARGV[3n-1] to the sorted set that ARGV[3n] counts from
KEYS[2] on, for ARGV[3n+1] milliseconds. ARGV[1] and the field's number stand before the message, since a sorted set has
each member once; they grow, so that of those with one time the first comes first."""

BRING = Script("""
redis.call('ZREM', KEYS[1], '')
local now = redis.call('TIME')
local ms = now[1] * 1000 + math.floor(now[2] / 1000)
local stride, room, left = 2 * ARGV[1] + 1, tonumber(ARGV[2]), -1
local moved = 0
for q = 1, #KEYS, stride do
  local waits = false
  for i = q + 1, q + stride - 1, 2 do
    local found = redis.call('ZRANGEBYSCORE', KEYS[i], '-inf', ms, 'LIMIT', 0, room - moved)
    if #found > 0 then
      redis.call('ZREM', KEYS[i], unpack(found))
      for n = #found, 1, -1 do
        redis.call('RPUSH', KEYS[i + 1], string.sub(found[n], string.find(found[n], '\\n', 1, true) + 1))
      end
      moved = moved + #found
    end
    local first = redis.call('ZRANGE', KEYS[i], 0, 0, 'WITHSCORES')
    if first[1] then
      waits = true
      local more = math.max(0, first[2] - ms)
      if left < 0 or more < left then left = more end
    end
  end
  if waits then
    redis.call('ZADD', KEYS[q], ms + ARGV[4], ARGV[3])
    redis.call('PEXPIRE', KEYS[q], ARGV[4])
  end
end
return {moved, left}
""")
"""Bring to the front of their lists what is due, at most ARGV[2] messages. KEYS are, for each queue, its readers and
then ARGV[1] pairs of a sorted set and its list. The consumer ARGV[3] stands among the readers for ARGV[4] milliseconds
while something waits. Answers how many were brought, and the milliseconds until the next is due, or -1."""

RETURN = Script("""
redis.call('ZREM', KEYS[1], ARGV[1])
local now = redis.call('TIME')
local ms = now[1] * 1000 + math.floor(now[2] / 1000)
if #redis.call('ZRANGEBYSCORE', KEYS[1], ms, '+inf', 'LIMIT', 0, 1) > 0 then return 0 end
local room = tonumber(ARGV[2])
for i = 2, #KEYS, 2 do
  local found = room > 0 and redis.call('ZRANGE', KEYS[i], 0, room - 1) or {}
  for _, member in ipairs(found) do
    redis.call('ZREM', KEYS[i], member)
    redis.call('LPUSH', KEYS[i + 1], string.sub(member, string.find(member, '\\n', 1, true) + 1))
  end
  room = room - #found
end
return ARGV[2] - room
""")
"""Take the consumer ARGV[1] out of a queue's readers KEYS[1], and when there is no other, put up to ARGV[2] messages of
the sorted sets to the end of the lists after each, whatever their time. Answers how many."""

SCRIPTS = (PARK, BRING, RETURN)

_AT_ONCE = 500
_SOONEST = 0.005
_DOUBT = 0.25
_LONGEST_END = 5.0


class Parking:
    """Parks messages of one consumer, and brings those of its queues to their lists when they are due.

    It looks when the next is due that it knows of, four times a lease, and a moment after the server has told that
    another consumer parked something.

    Args:
        queues: the queues whose messages may wait: none that end with the consumer.
        patience: seconds that a trip to the server may take.

    Attributes:
        due: the monotonic time of the next look.
        keys: the sorted sets.
    """

    def __init__(self, link: Link, layout: Layout, lease: Lease, queues: Sequence[str], patience: float) -> None:
        self._link = link
        self._layout = layout
        self._lease = lease
        self._patience = patience
        self._every = lease.seconds / 4
        self._steps = len(layout.steps)
        self._queues = [
            (layout.readers(queue), *(each for key in layout.keys(queue) for each in (layout.parked(key), key)))
            for queue in queues
        ]
        self._all = [key for keys in self._queues for key in keys]
        self.keys = frozenset(key.encode() for keys in self._queues for key in keys[1::2])
        self._looked = 0.0
        self._used = False
        self._refused = ""
        self.due = 0.0 if queues else float("inf")

    def park(self, tags: Sequence[tuple[str, float]]) -> None:
        """Let messages that are held wait, each for its seconds. One that is not held any more is passed over.

        Raises:
            OperationalError: the connection is lost.
            ChannelError: the server refuses.
        """
        self._used = True
        now = time.monotonic()
        soonest = min(seconds for _, seconds in tags)
        for start in range(0, len(tags), _AT_ONCE):
            sets: dict[str, int] = {}
            arguments: list[Any] = []
            for tag, seconds in tags[start : start + _AT_ONCE]:
                key = self._layout.parked(tag.partition(":")[2])
                arguments += (tag, sets.setdefault(key, len(sets)), round(seconds * 1000))
            mark = f"{time.time_ns():020d}.{self._lease.identity}."
            self._link.ask(*run(PARK, (self._lease.key, *sets), mark, *arguments), timeout=self._patience)
        self.due = min(self.due, now + soonest)

    def told(self, now: float) -> None:
        """Another consumer has parked or brought something."""
        self.due = min(self.due, max(now, self._looked + _DOUBT))

    def run(self, now: float) -> bool:
        """Look, and bring what is due. Returns whether anything went to a list.

        What the server refuses is told once and does not keep anyone from reading.

        Raises:
            OperationalError: the connection is lost.
        """
        self._looked = now
        self.due = now + self._every
        arguments = (self._steps, _AT_ONCE, self._lease.identity, self._lease.milliseconds)
        try:
            moved, left = self._link.ask(*run(BRING, self._all, *arguments), timeout=self._patience)
        except ChannelError as error:
            moved, left = 0, -1
            if str(error) != self._refused:
                self._refused = str(error)
                logger.error("cannot look for what waits for its time: %s", error)
        if left >= 0:
            self._used = True
            self.due = now + min(self._every, max(_SOONEST, left / 1000))
        return bool(moved)

    def end(self) -> None:
        """Leave; the last one puts back what waits.

        Raises:
            OperationalError: the connection is lost.
            ChannelError: the server refuses.
        """
        end = time.monotonic() + _LONGEST_END
        for keys in self._queues if self._used else ():
            count = 0
            while time.monotonic() < end:
                found = self._link.ask(*run(RETURN, keys, self._lease.identity, _AT_ONCE), timeout=self._patience)
                if not found:
                    break
                count += found
            if count:
                logger.info("%d messages that are not due go back to %r: nobody else would bring them", count, keys[2])
