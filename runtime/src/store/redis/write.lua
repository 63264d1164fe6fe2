-- One write of a store, as a whole. Times are the server's, so that all daemons agree on what is expired.
--
-- KEYS: meta (a hash: used, version), index (a sorted set of keys, by their bytes), expiry (a sorted set, by time).
-- ARGV: the prefix of entries, the quota, what an entry counts beside key and value, the operation and its arguments.
-- An entry is a hash: v is the value, n its version, e the time at which it expires.

local meta, index, expiry = KEYS[1], KEYS[2], KEYS[3]
local prefix, quota, PER_ENTRY, operation = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function drop(key)
  local size = redis.call('HSTRLEN', prefix .. key, 'v') + #key + PER_ENTRY
  if redis.call('DEL', prefix .. key) == 1 then
    redis.call('HINCRBY', meta, 'used', -size)
  end
  redis.call('ZREM', index, key)
  redis.call('ZREM', expiry, key)
end

local function sweep(most)
  for _, key in ipairs(redis.call('ZRANGEBYSCORE', expiry, '-inf', now, 'LIMIT', 0, most)) do
    drop(key)
  end
end

local function current(key)
  local entry = redis.call('HMGET', prefix .. key, 'v', 'n', 'e')
  if not entry[1] then
    return nil
  end
  if entry[3] and tonumber(entry[3]) <= now then
    drop(key)
    return nil
  end
  return entry
end

local function fits(growth)
  local function has_room()
    return growth <= 0 or tonumber(redis.call('HGET', meta, 'used') or '0') + growth <= quota
  end
  if has_room() then
    return true
  end
  sweep(1000)
  return has_room()
end

-- Numbers of 64 bits stay text: a number of Lua has 53 bits.
local function put(key, value, expires, old)
  local growth = #value - (old and #old[1] or -(#key + PER_ENTRY))
  redis.call('HINCRBY', meta, 'version', 1)
  local version = redis.call('HGET', meta, 'version')
  redis.call('HSET', prefix .. key, 'v', value, 'n', version)
  if expires then
    redis.call('HSET', prefix .. key, 'e', string.format('%.0f', expires))
    redis.call('ZADD', expiry, string.format('%.0f', expires), key)
  elseif old and old[3] then
    redis.call('HDEL', prefix .. key, 'e')
    redis.call('ZREM', expiry, key)
  end
  if not old then
    redis.call('ZADD', index, 0, key)
  end
  redis.call('HINCRBY', meta, 'used', growth)
  return version
end

-- Adds to the number in the meta hash. The server refuses what is no number, or too large.
local function adds(delta)
  local reply = redis.pcall('HINCRBY', meta, 'sum', delta)
  return type(reply) ~= 'table'
end

sweep(16)

if operation == 'set' then
  local key, value, ttl, condition = ARGV[5], ARGV[6], ARGV[7], ARGV[8]
  local old = current(key)
  if (condition == 'absent' and old) or (condition ~= 'always' and condition ~= 'absent' and (not old or old[2] ~= condition)) then
    return old and {'stale', old[1], old[2], old[3] or ''} or {'stale'}
  end
  if not fits(#value - (old and #old[1] or -(#key + PER_ENTRY))) then
    return {'quota'}
  end
  return {'written', put(key, value, ttl ~= '' and now + tonumber(ttl), old)}
elseif operation == 'increment' then
  local key, delta = ARGV[5], ARGV[6]
  local old = current(key)
  local sum = delta
  if old then
    -- The server adds in 64 bits and refuses what is no number. The entry itself is only replaced by put.
    redis.call('HSET', meta, 'sum', old[1])
    local refused = not adds('0') and 'not_a_number' or not adds(delta) and 'overflow'
    sum = redis.call('HGET', meta, 'sum')
    redis.call('HDEL', meta, 'sum')
    if refused then
      return {refused}
    end
  end
  if not fits(#sum - (old and #old[1] or -(#key + PER_ENTRY))) then
    return {'quota'}
  end
  put(key, sum, old and old[3] and tonumber(old[3]), old)
  return {'sum', sum}
elseif operation == 'delete' then
  local existed = false
  for at = 5, #ARGV do
    if current(ARGV[at]) then
      drop(ARGV[at])
      existed = true
    end
  end
  return {existed and 'deleted' or 'absent'}
elseif operation == 'set_many' then
  -- No key is there twice.
  local growth = 0
  for at = 5, #ARGV, 2 do
    local old = current(ARGV[at])
    growth = growth + #ARGV[at + 1] - (old and #old[1] or -(#ARGV[at] + PER_ENTRY))
  end
  if not fits(growth) then
    return {'quota'}
  end
  for at = 5, #ARGV, 2 do
    put(ARGV[at], ARGV[at + 1], false, current(ARGV[at]))
  end
  return {'done'}
end
return redis.error_reply('unknown operation ' .. operation)
