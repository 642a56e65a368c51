-- append.lua: add one event to a channel, atomically: number it, store it, announce it.
-- KEYS[1] history, KEYS[2] meta, KEYS[3] once (only with an idempotency key)
-- ARGV    live, capacity, ttl, metaTTL, finalTTL, base, type, data, fill, nonce, final, ifNew, onceTTL
-- Returns {'ok', event} or {'again', event} (the key was used: nothing was done, this is the first result),
-- {'ended'} or {'exists'}.
local rule = {capacity = tonumber(ARGV[2]), ttl = ARGV[3], metaTTL = ARGV[4], finalTTL = ARGV[5], base = ARGV[6]}
local event = {type = ARGV[7], data = ARGV[8], fill = ARGV[9], nonce = ARGV[10], final = ARGV[11], ifNew = ARGV[12]}

if KEYS[3] then
  local first = redis.call('GET', KEYS[3])
  if first then return {'again', first} end
end
local status, id, time, text = add(KEYS[1], KEYS[2], ARGV[1], rule, event, '')
if status ~= 'ok' then return {status} end
if KEYS[3] then redis.call('SET', KEYS[3], text, 'EX', ARGV[13]) end
return {'ok', text}
