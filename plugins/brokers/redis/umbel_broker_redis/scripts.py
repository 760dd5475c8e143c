"""What has to be one step for the server. Each runs on the keys it is given and no others.

``umbel.consumers`` is a sorted set of consumers, each with the millisecond of the server's clock at which its lease
runs out, or 0 from the moment on in which another one has begun to give back what it held. A consumer that renews its
lease and finds 0, or no entry, knows that it may hold less than it thought. While a consumer's hash has anything in it,
the consumer stands in the set: both are written in the same step.

The scripts read that set by ZINCRBY, because what a script reads by a reading command is tracked on the connection, and
every heartbeat of another consumer would wake this one.

A server whose memory is full refuses a script the first command that may need more, but not one that has begun to
write. So those that have to run then, for a full server to be worked off, begin by removing what is not there.
"""

from __future__ import annotations

from umbel_client_redis import Script

TAKE = Script("""
local limit, number = tonumber(ARGV[1]), tonumber(ARGV[4])
local out, held, count = {0}, {}, 0
for i = 3, #KEYS do
  local key = KEYS[i]
  local got = redis.call('RPOP', key, limit - count)
  if got then
    local tail = ':' .. key
    for n = 1, #got do
      held[#held + 1] = (number + count) .. tail
      held[#held + 1] = got[n]
      count = count + 1
    end
    out[#out + 1] = i - 3
    out[#out + 1] = got
    if count >= limit then break end
  end
end
if count > 0 then
  redis.call('HSET', KEYS[2], unpack(held))
  local now = redis.call('TIME')
  local until_ = now[1] * 1000 + math.floor(now[2] / 1000) + ARGV[3]
  if tonumber(redis.call('ZINCRBY', KEYS[1], 0, ARGV[2])) == 0 then out[1] = 1 end
  redis.call('ZADD', KEYS[1], until_, ARGV[2])
end
if count < limit then
  for i = 3, #KEYS do redis.call('LLEN', KEYS[i]) end
end
return out
""")
"""Move up to ARGV[1] messages from the lists KEYS[3..] into the hash KEYS[2] of the consumer ARGV[2], under ARGV[4] and
the numbers after it, each with the key of its list, and renew the lease of ARGV[3] milliseconds in KEYS[1]. Answers 1
when the lease had lapsed, else 0, and then the place of each list with what came from it. When there are fewer, the
lists are read, so that client tracking tells when one of them changes."""

RENEW = Script("""
redis.call('ZREM', KEYS[1], '')
local now = redis.call('TIME')
local before = tonumber(redis.call('ZINCRBY', KEYS[1], 0, ARGV[1]))
redis.call('ZADD', KEYS[1], now[1] * 1000 + math.floor(now[2] / 1000) + ARGV[2], ARGV[1])
return before == 0 and 1 or 0
""")
"""Renew the lease of the consumer ARGV[1] in KEYS[1] for ARGV[2] milliseconds. Answers 1 when it had lapsed."""

OVERDUE = Script("""
redis.call('ZREM', KEYS[1], '')
local now = redis.call('TIME')
local ms = now[1] * 1000 + math.floor(now[2] / 1000)
local out = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', '(' .. ms, 'LIMIT', 0, ARGV[2])) do
  if id ~= ARGV[1] then
    redis.call('ZADD', KEYS[1], 0, id)
    out[#out + 1] = id
  end
end
return out
""")
"""The consumers in KEYS[1], up to ARGV[2] and without ARGV[1], whose lease has run out; from now on they can tell."""

GIVE_BACK = Script("""
local mode = ARGV[2]
if mode == 'overdue' then
  local score = redis.call('ZSCORE', KEYS[1], ARGV[1])
  if not score or tonumber(score) ~= 0 then return -1 end
end
local count = 0
for i = 3, #ARGV, 3 do
  if redis.call('HDEL', KEYS[2], ARGV[i]) == 1 then
    redis.call('RPUSH', KEYS[ARGV[i + 2] + 3], ARGV[i + 1])
    count = count + 1
  end
end
if mode ~= 'some' and redis.call('EXISTS', KEYS[2]) == 0 then redis.call('ZREM', KEYS[1], ARGV[1]) end
return count
""")
"""Of what the consumer ARGV[1] holds in the hash KEYS[2], move each field ARGV[3n] to the front of the list that
ARGV[3n+2] counts from KEYS[3] on, written anew as ARGV[3n+1]; what is not held any more is passed over. ARGV[2] says
why: ``some``, of a consumer that goes on; ``all``, of one that ends; ``overdue``, of one whose lease ran out, and then
only as long as it does not show itself, else -1 is the answer. A consumer of which nothing is left leaves KEYS[1]."""

RESTORE = Script("""
local score = redis.call('ZSCORE', KEYS[2], ARGV[1])
if score and tonumber(score) > tonumber(ARGV[3]) then return 0 end
redis.call('ZREM', KEYS[2], ARGV[1])
if redis.call('HDEL', KEYS[1], ARGV[1]) == 0 then return 0 end
redis.call('RPUSH', KEYS[3], ARGV[2])
return 1
""")
"""Move the entry ARGV[1] of kombu's hash KEYS[1] and index KEYS[2] to the front of the list KEYS[3] as ARGV[2]; only
once, and only when its hold is not younger than ARGV[3]."""

KEEP_BINDING = Script("""
redis.call('SADD', KEYS[1], ARGV[1])
local now = redis.call('TIME')
local ms = tonumber(now[1]) * 1000 + math.floor(tonumber(now[2]) / 1000)
redis.call('ZADD', KEYS[2], 'GT', ms + tonumber(ARGV[3]), ARGV[2])
return 1
""")
"""Add the binding ARGV[1] of an expiring queue to KEYS[1] and put off the end of exchange ARGV[2]'s bindings in KEYS[2]
to ARGV[3] milliseconds from now, by the server's clock."""

UNBIND = Script("""
redis.call('SREM', KEYS[1], ARGV[1])
redis.call('SREM', KEYS[2], ARGV[1])
if redis.call('EXISTS', KEYS[1]) == 0 then redis.call('ZREM', KEYS[3], ARGV[2]) end
return 1
""")
"""Take the binding ARGV[1] out of KEYS[1] and of the permanent ones in KEYS[2]; with the last one, exchange ARGV[2]
leaves the deadlines in KEYS[3]."""

ALL = (TAKE, RENEW, OVERDUE, GIVE_BACK, RESTORE, KEEP_BINDING, UNBIND)
