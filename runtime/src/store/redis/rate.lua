-- Counts one request against a rate limit that daemons share, as a whole (GCRA). Times are the server's, in microseconds.
--
-- KEYS: the limit, a hash: `seed`, and one field for each of 8,192 sets. ARGV: the digest of the client, the interval of
-- one request, the burst, a seed. A set has up to eight slots of 24 bytes: 16 that stand for the client, and when its next
-- request is expected. A new client takes the slot that has been idle longest, so a flood of clients takes no more memory.
-- The seed keeps clients from choosing a set.

local WAYS, SLOT = 8, 24
local limit = KEYS[1]
local client, interval, burst, seed = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]

local kept = redis.call('HGET', limit, 'seed')
if not kept then
  redis.call('HSET', limit, 'seed', seed)
end
local digest = redis.sha1hex((kept or seed) .. client)
local set = string.format('%d', tonumber(string.sub(digest, 1, 4), 16) % 8192)
local key = string.sub(digest, 5, 20)

local slots = redis.call('HGET', limit, set) or ''
local found, idlest, due, least
for at = 1, #slots, SLOT do
  local expected = struct.unpack('>d', slots, at + #key)
  if string.sub(slots, at, at + #key - 1) == key then
    found, due = at, expected
  end
  if not least or expected < least then
    idlest, least = at, expected
  end
end

-- A clock that was set back must not make clients wait for longer than the whole burst.
local whole = interval * burst
due = math.min(math.max(due or 0, now), now + whole) + interval
local wait = due - now - whole
-- A number of Lua holds such a time to a quarter of a microsecond.
if wait > 1 then
  return {0, math.ceil(wait)}
end

local slot = key .. struct.pack('>d', due)
if not found and #slots < WAYS * SLOT then
  slots = slots .. slot
else
  local at = found or idlest
  slots = string.sub(slots, 1, at - 1) .. slot .. string.sub(slots, at + SLOT)
end
redis.call('HSET', limit, set, slots)
redis.call('PEXPIRE', limit, string.format('%d', math.ceil(whole / 1000) + 1000))
return {1, math.max(0, math.floor(-wait / interval + 0.001))}
