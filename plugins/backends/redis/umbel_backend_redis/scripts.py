"""What has to be one step for the server. Each runs on the keys it is given and no others."""

from __future__ import annotations

from umbel_client_redis import Script

STORE = Script("""
local out = {}
for i, key in ipairs(KEYS) do
  local body, life = ARGV[3 * i - 2], tonumber(ARGV[3 * i - 1])
  local verdict = 1
  local kept = redis.call('GET', key)
  if kept and (string.find(kept, 'SUCCESS', 1, true) or string.find(kept, '"fence"', 1, true)) then
    local fence, seen = string.match(ARGV[3 * i], '^(%d*):(.*)$')
    if redis.sha1hex(kept) ~= seen then
      local fine, document = pcall(cjson.decode, kept)
      if not fine or type(document) ~= 'table' or document['status'] == nil then
        verdict = kept
      elseif document['status'] == 'SUCCESS' or (tonumber(document['fence']) or 0) > (tonumber(fence) or 0) then
        verdict = 0
      end
    end
  end
  if verdict == 1 then
    if life > 0 then
      redis.call('SET', key, body, 'PX', life)
    else
      redis.call('SET', key, body)
    end
    redis.call('PUBLISH', key, body)
  end
  out[i] = verdict
end
return out
""")
"""Set each KEYS[i] to ARGV[3i-2] for ARGV[3i-1] milliseconds (0: for ever) and publish it on the channel of that name,
unless a SUCCESS is kept there, or a document with a higher fence. Answers 1 for set, 0 for left alone, or what is kept
when its state cannot be told here; the caller reads that and comes again with its SHA-1 to replace just that. ARGV[3i]
is empty, or the fence, a colon, and that SHA-1."""

CHORD = Script("""
local parts, diff, sizes, seen, claim, runs = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local life, ordered = ARGV[2], ARGV[4] == '1'
local claimed = redis.call('GET', claim)
local size, out = nil, {}
if not claimed then
  size = tonumber(redis.call('GET', sizes) or ARGV[1]) + tonumber(redis.call('GET', diff) or 0)
end
for at = 5, #ARGV, 6 do
  local index, body, run, member = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  local success, fence = ARGV[at + 4] == '1', tonumber(ARGV[at + 5])
  local mine = false
  if claimed then
    local theirs, place = string.match(claimed, '^(.*):(.*)$')
    mine = run == theirs or index == place
  else
    local again = redis.call('SADD', seen, member) == 0
    local keep = not again
    if again and ordered then
      local failed = tonumber(redis.call('HGET', runs, member) or '')
      if failed and fence >= failed then
        local old = redis.call('ZRANGEBYSCORE', parts, index, index)
        keep = #old == 1
        if keep then redis.call('ZREM', parts, old[1]) end
      end
    end
    if keep then
      if ordered then redis.call('ZADD', parts, index, body) else redis.call('RPUSH', parts, body) end
      if not success then
        redis.call('HSET', runs, member, fence)
        redis.call('PEXPIRE', runs, life)
      elseif again then
        redis.call('HDEL', runs, member)
      end
    end
    local count = ordered and redis.call('ZCARD', parts) or redis.call('LLEN', parts)
    mine = size ~= 0 and count == size
  end
  if mine then
    claimed = run .. ':' .. index
    redis.call('SET', claim, claimed, 'PX', ARGV[3])
  end
  out[#out + 1] = mine and 1 or 0
end
if size then
  for i = 1, 4 do redis.call('PEXPIRE', KEYS[i], life) end
end
return out
""")
"""Keep parts of a header of ARGV[1] (0: as many as KEYS[3] says) for ARGV[2] milliseconds. Whoever makes it complete
claims it for ARGV[3] milliseconds with the name of its run and its index, and is told 1; so is, until it is done, the
same index when it comes again, and whoever comes when the claim is over. All others are told 0.

A part is six arguments from ARGV[5] on: its index, what is kept, the name of its run, a name that tells a part that
comes twice, whether it is a success, and its fence. A success (1) never gives way, and anything else only to what has
no lower fence than it, which KEYS[6] keeps. The other keys and the members are those of Celery's chords, so that
workers of both kinds may count one. When ARGV[4] is 0, the parts come as they have ended, in a list, as in Celery, and
the first of two stays."""

CHORD_BODIES = Script("""
local claimed, mine = redis.call('GET', KEYS[5]), ARGV[1] .. ':' .. ARGV[2]
if claimed and claimed ~= mine then return false end
redis.call('SET', KEYS[5], mine, 'PX', ARGV[3])
return redis.call(ARGV[4] == '1' and 'ZRANGE' or 'LRANGE', KEYS[1], 0, -1)
""")
"""All parts in order, for the run ARGV[1] of the index ARGV[2], which has the claim or had it last; it has it anew for
ARGV[3] milliseconds. ARGV[4] is as in ``CHORD``."""

CHORD_END = Script("""
local ended = redis.call('GET', KEYS[7])
if ended then return ended == ARGV[1] and 1 or 0 end
redis.call('SET', KEYS[7], ARGV[1], 'PX', ARGV[2])
redis.call('DEL', KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[6], KEYS[8])
redis.call('SET', KEYS[5], 'done', 'PX', ARGV[2])
return 1
""")
"""Note run ARGV[1] as the one that counts, unless one is noted; drop the parts and leave Celery's mark that it is done.
Answers whether ARGV[1] is the one."""

CHORD_ADD = Script("""
local diff, sizes, claim, added = KEYS[2], KEYS[3], KEYS[5], KEYS[8]
if redis.call('GET', claim) then return -1 end
local index = redis.call('HGET', added, ARGV[2])
if not index then
  index = tonumber(redis.call('GET', sizes) or ARGV[1]) + redis.call('INCR', diff) - 1
  redis.call('HSET', added, ARGV[2], index)
  redis.call('PEXPIRE', diff, ARGV[3])
  redis.call('PEXPIRE', added, ARGV[3])
end
return tonumber(index)
""")
"""Count one member more than the ARGV[1] that the header was sent with, where Celery does, and answer its index.
ARGV[2] is its name, and the index is the same when it comes again; -1 when all are in."""

ALL = (STORE, CHORD, CHORD_BODIES, CHORD_END, CHORD_ADD)
