"""What has to be one step for the server. Each runs on the keys it is given and no others."""

from __future__ import annotations

from umbel_client_redis import Script

TAKE = Script("""
local limit, now, prefix, number = tonumber(ARGV[1]), ARGV[2], ARGV[3], tonumber(ARGV[4])
local out, held, index, count = {}, {}, {}, 0
for i = 3, #KEYS do
  if count >= limit then break end
  local got = redis.call('RPOP', KEYS[i], limit - count)
  if got then
    for _, raw in ipairs(got) do
      local tag = prefix .. (number + count)
      local kept = raw
      if string.byte(raw, 1) ~= 123 then kept = cjson.encode(raw) end
      held[#held + 1] = tag
      held[#held + 1] = '[' .. kept .. ARGV[i + 2]
      index[#index + 1] = now
      index[#index + 1] = tag
      out[#out + 1] = i - 3
      out[#out + 1] = raw
      count = count + 1
    end
  end
end
if count > 0 then
  redis.call('HSET', KEYS[1], unpack(held))
  redis.call('ZADD', KEYS[2], unpack(index))
else
  for i = 3, #KEYS do redis.call('LLEN', KEYS[i]) end
end
return out
""")
"""Move up to ARGV[1] messages from the lists KEYS[3..] into the hash KEYS[1] and the index KEYS[2]. An entry is kombu's
``[message, exchange, routing key]``, so that a Celery worker can restore it. When all lists are empty they are read, so
that client tracking tells when one of them changes."""

GIVE_BACK = Script("""
local score = redis.call('ZSCORE', KEYS[2], ARGV[1])
if ARGV[4] ~= '' and score and tonumber(score) > tonumber(ARGV[4]) then return 0 end
redis.call('ZREM', KEYS[2], ARGV[1])
if redis.call('HDEL', KEYS[1], ARGV[1]) == 0 then return 0 end
redis.call(ARGV[3], KEYS[3], ARGV[2])
return 1
""")
"""Move the entry ARGV[1] out of the hash KEYS[1] and the index KEYS[2] and put ARGV[2] on the list KEYS[3] by the
command ARGV[3]; only once, and, with ARGV[4], only when its hold is not younger than that."""

KEEP_BINDING = Script("""
redis.call('SADD', KEYS[1], ARGV[1])
local now = redis.call('TIME')
local ms = tonumber(now[1]) * 1000 + math.floor(tonumber(now[2]) / 1000)
redis.call('ZADD', KEYS[2], 'GT', ms + tonumber(ARGV[3]), ARGV[2])
return 1
""")
"""Add the binding ARGV[1] of an expiring queue to KEYS[1] and put off the end of exchange ARGV[2]'s bindings in KEYS[2]
to ARGV[3] milliseconds from now, by the server's clock."""

ALL = (TAKE, GIVE_BACK, KEEP_BINDING)
