-- append.lua adds one event to a channel in one atomic step: it numbers it, stores it and announces it.
--
-- KEYS
--   history
--   meta
--   once         the result of an earlier call with the same idempotency key; there is no such key without one
--
-- ARGV, as appendArgs in script.go sends it
--   live         see add.lua, like all that is not explained here
--   capacity
--   ttl
--   metaTTL
--   finalTTL
--   base
--   eventType
--   data
--   fill
--   fillAt
--   progress
--   nonce
--   final
--   ifNew
--   onceTTL      seconds that the result is kept for the idempotency key
--
-- It returns a status and maybe the text of an event:
--   {'ok', text}     the event is stored
--   {'again', text}  the idempotency key was used before: nothing was done, and text is the event of that time
--   {'ended'}        the channel had a final event
--   {'exists'}       ifNew is '1' and the channel has had an event
local live, capacity, ttl, metaTTL, finalTTL, base, eventType, data, fill, fillAt, progress, nonce, final, ifNew,
  onceTTL = unpack(ARGV)
local history, meta, once = unpack(KEYS)

if once then
  local first = redis.call('GET', once)
  if first then return {'again', first} end
end
local rule = {capacity = tonumber(capacity), ttl = ttl, metaTTL = metaTTL, finalTTL = finalTTL, base = base}
local event = {type = eventType, data = data, fill = fill, fillAt = tonumber(fillAt), progress = progress,
  nonce = nonce, final = final, ifNew = ifNew}
local status, text = add(history, meta, live, rule, event, '')
if status ~= 'ok' then return {status} end
if once then redis.call('SET', once, text, 'EX', onceTTL) end
return {'ok', text}
