-- revoke.lua notes that what was issued to somebody before now is not valid any more.
--
-- KEYS
--   revoked  a sorted set: what is revoked, by when that was in microseconds since 1970
--
-- ARGV, as Revoke in revoke.go sends it
--   what     "s" and a subject, or "j" and the id of a token
--   keep     seconds that it is kept
--   most     entries of the set
--
-- Returns when it was revoked, in microseconds since 1970, or 0 if the set is full.
local key, what, keep, most = KEYS[1], ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local time = redis.call('TIME')
local at = tonumber(time[1]) * 1000000 + tonumber(time[2])

redis.call('ZREMRANGEBYSCORE', key, '-inf', string.format('%.0f', at - keep * 1000000))
if redis.call('ZCARD', key) >= most and not redis.call('ZSCORE', key, what) then
  return '0'
end
-- Each is later than all before it, also when somebody set the clock back: replicas ask for what is later than they know.
local last = redis.call('ZREVRANGE', key, 0, 0, 'WITHSCORES')
if last[2] and tonumber(last[2]) >= at then
  at = tonumber(last[2]) + 1
end
redis.call('ZADD', key, string.format('%.0f', at), what)
redis.call('EXPIRE', key, keep)
return string.format('%.0f', at)
