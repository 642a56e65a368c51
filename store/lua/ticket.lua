-- ticket.lua opens a stream with a ticket, or keeps it open.
--
-- KEYS
--   ticket   a hash: who made it; the parameters that it was used with; the stream that has it now
--   taken    a sorted set: streams that have lost their ticket to a newer one, by when that was in microseconds since 1970
--
-- ARGV, as ticket.go sends it
--   params   a digest of the parameters; empty: the stream has the ticket, and keeps it
--   holder   the stream
--   ttl      seconds that the ticket is kept
--   takenTTL seconds that an entry of taken is kept
--   most     entries of taken
--
-- Returns "ok", "gone", or "other" if the ticket is another stream's, or was used with other parameters.
local ticket, taken = KEYS[1], KEYS[2]
local params, holder, ttl, takenTTL, most = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local known = redis.call('HMGET', ticket, 'who', 'params', 'holder')
if not known[1] then
  return 'gone'
end
if params == '' then
  if known[3] ~= holder then
    return 'other'
  end
  redis.call('EXPIRE', ticket, ttl)
  return 'ok'
end
if known[2] and known[2] ~= params then
  return 'other'
end
if known[3] then
  local time = redis.call('TIME')
  local at = tonumber(time[1]) * 1000000 + tonumber(time[2])
  redis.call('ZREMRANGEBYSCORE', taken, '-inf', string.format('%.0f', at - takenTTL * 1000000))
  local last = redis.call('ZREVRANGE', taken, 0, 0, 'WITHSCORES')
  if last[2] and tonumber(last[2]) >= at then
    at = tonumber(last[2]) + 1
  end
  redis.call('ZADD', taken, string.format('%.0f', at), known[3])
  redis.call('ZREMRANGEBYRANK', taken, 0, -most - 1)
  redis.call('EXPIRE', taken, takenTTL)
end
redis.call('HSET', ticket, 'params', params, 'holder', holder)
redis.call('EXPIRE', ticket, ttl)
return 'ok'
