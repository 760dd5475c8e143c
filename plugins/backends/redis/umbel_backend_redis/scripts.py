"""What has to be one step for the server. Each runs on the keys it is given and no others."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Script:
    """A Lua script and the name by which the server keeps it."""

    text: str
    sha: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "sha", hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest())


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
local key, index, body, size = KEYS[1], ARGV[1], ARGV[2], tonumber(ARGV[3])
local life, token = tonumber(ARGV[4]), ARGV[5]
if size == 0 then size = tonumber(redis.call('GET', KEYS[2]) or '0') end
local done = redis.call('HGET', key, 'done')
if done then
  if done ~= token then return false end
else
  redis.call('HSETNX', key, index, body)
  redis.call('PEXPIRE', key, life)
  if size == 0 or redis.call('HLEN', key) < size then return false end
  for i = 0, size - 1 do
    if redis.call('HEXISTS', key, i) == 0 then return false end
  end
  redis.call('HSET', key, 'done', token)
end
local out = {}
for i = 0, size - 1 do out[i + 1] = redis.call('HGET', key, i) end
return out
""")
"""Keep part ARGV[1] of ARGV[3] (0: of as many as KEYS[2] says, where Celery's producers write it) in the hash KEYS[1] for ARGV[4] milliseconds. Whoever makes it complete writes its token
ARGV[5] there and gets all parts in order. Nobody else does; the same caller does again when the answer was lost."""

CHORD_FREE = Script("""
if redis.call('HGET', KEYS[1], 'done') ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'done', ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
""")
"""Drop the parts of a complete chord and leave the mark that it is done."""

ALL = (STORE, CHORD, CHORD_FREE)
