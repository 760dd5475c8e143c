"""What has to be one step for the server. Each runs on the keys it is given and no others."""

from __future__ import annotations

from umbel_client_redis import Script

STORE = Script("""
local out = {}
for i, key in ipairs(KEYS) do
  local body, life, seen = ARGV[3 * i - 2], tonumber(ARGV[3 * i - 1]), ARGV[3 * i]
  local verdict = 1
  local kept = redis.call('GET', key)
  if kept and string.find(kept, 'SUCCESS', 1, true) and redis.sha1hex(kept) ~= seen then
    local fine, document = pcall(cjson.decode, kept)
    if not fine or type(document) ~= 'table' or document['status'] == nil then
      verdict = kept
    elseif document['status'] == 'SUCCESS' then
      verdict = 0
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
unless a SUCCESS is kept there. Answers 1 for set, 0 for left alone, or what is kept when its state cannot be told here;
the caller reads that and comes again with its SHA-1 as ARGV[3i] to replace just that."""

CHORD = Script("""
local parts, diff, sizes, seen, claim = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local index, body, size, life = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local token, member = ARGV[5], ARGV[6]
local claimed = redis.call('GET', claim)
if claimed ~= token then
  if claimed then return false end
  if redis.call('SADD', seen, member) == 1 then redis.call('ZADD', parts, index, body) end
  for i = 1, 4 do redis.call('PEXPIRE', KEYS[i], life) end
  size = tonumber(redis.call('GET', sizes) or size) + tonumber(redis.call('GET', diff) or 0)
  if size == 0 or redis.call('ZCARD', parts) ~= size then return false end
  redis.call('SET', claim, token, 'EX', 10)
end
return redis.call('ZRANGE', parts, 0, -1)
""")
"""Keep part ARGV[2] of ARGV[3] (0: as many as KEYS[3] says) with the index ARGV[1] for ARGV[4] milliseconds. Whoever
makes it complete claims it with its token ARGV[5] and gets all parts in order. Nobody else does; the same caller does
again when the answer was lost. ARGV[6] tells a part that comes twice. Keys and members are those of Celery's chords,
so that workers of both kinds may count one."""

CHORD_FREE = Script("""
if redis.call('GET', KEYS[5]) ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1], KEYS[2], KEYS[3], KEYS[4])
redis.call('SET', KEYS[5], 'done', 'PX', ARGV[2])
return 1
""")
"""Drop the parts of a complete chord and leave the mark that it is done."""

ALL = (STORE, CHORD, CHORD_FREE)
