-- Reads entries that are not expired by the server's clock.
--
-- KEYS: index, expiry. ARGV: the prefix of entries, the operation and its arguments.

local index, expiry = KEYS[1], KEYS[2]
local prefix, operation = ARGV[1], ARGV[2]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

if operation == 'get' then
  local values, bytes = {}, 0
  for at = 4, #ARGV do
    local entry = redis.call('HMGET', prefix .. ARGV[at], 'v', 'n', 'e')
    local live = entry[1] and not (entry[3] and tonumber(entry[3]) <= now)
    bytes = bytes + (live and #entry[1] or 0)
    if bytes > tonumber(ARGV[3]) then
      return redis.error_reply('TOOLARGE the values of the batch')
    end
    values[at - 3] = live and {entry[1], entry[2], entry[3] or ''} or {}
  end
  return values
end

if operation == 'used' then
  return tonumber(redis.call('HGET', ARGV[3], 'used') or '0')
end

-- The list: one page of keys, and whether more were left.
local from, to, limit = ARGV[3], ARGV[4], tonumber(ARGV[5])
local found = redis.call('ZRANGEBYLEX', index, from, to, 'LIMIT', 0, limit + 1)
local more = #found > limit
local keys = {}
for at = 1, math.min(#found, limit) do
  local expires = redis.call('ZSCORE', expiry, found[at])
  if not expires or tonumber(expires) > now then
    keys[#keys + 1] = found[at]
  end
end
return {keys, more and found[limit] or false}
