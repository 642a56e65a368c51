-- adopt.lua stores or rejects raw messages of a channel, each exactly once, however many replicas present it. A message
-- is named by a marker and by its number since that marker. The messages of one call have one marker and successive
-- numbers.
--
-- KEYS
--   history
--   meta
--   adopted      highest number since the marker among the messages that were stored or rejected
--   rejected     the list of messages that were not understood
--
-- ARGV, as adoptArgs in script.go sends it
--   live         see add.lua, like all that is not explained here
--   capacity
--   ttl
--   metaTTL
--   finalTTL
--   base
--   first        the number of the first message of this call
--   marker
--   adoptedTTL   seconds that the highest number is kept
--   rejectedCap  how many messages the list of rejected ones keeps
--   rejectedTTL  seconds that it is kept after the newest one
--   notices      the pub/sub channel of notices (see ParseNotice)
--   channel      the channel's name
--   unheard      '1' if not everybody who gets the raw messages gets the announcements of their events
--
-- ARGV then, for each message, as messageArgs in script.go sends it
--   reason       why the message is rejected, a JSON text; '' if it is an event
--   payload      the beginning of the message, a JSON text
--   eventType
--   data
--   fill
--   fillAt
--   progress
--   nonce
--   final
--
-- It returns three numbers: {highest number stored or rejected before, events stored now, messages rejected now}.
local live, capacity, ttl, metaTTL, finalTTL, base, first, marker, adoptedTTL, rejectedCap,
  rejectedTTL, notices, channel, unheard = unpack(ARGV, 1, 14)
local history, meta, adopted, rejected = unpack(KEYS)
local rule = {capacity = tonumber(capacity), ttl = ttl, metaTTL = metaTTL, finalTTL = finalTTL, base = base}

local function reject(reason, payload)
  local clock = redis.call('TIME')
  local time = string.format('%.0f', clock[1] * 1000 + math.floor(clock[2] / 1000))
  redis.call('LPUSH', rejected, '{"time":' .. time .. ',"reason":' .. reason .. ',"payload":' .. payload .. '}')
  redis.call('LTRIM', rejected, 0, tonumber(rejectedCap) - 1)
  redis.call('EXPIRE', rejected, rejectedTTL)
end

local before = tonumber(redis.call('GET', adopted) or '0')
local highest, storedNow, rejectedNow = before, 0, 0
local announced = false -- the message with the highest number is an event
local number = tonumber(first)
for i = 15, #ARGV, 9 do
  local reason, payload, eventType, data, fill, fillAt, progress, nonce, final = unpack(ARGV, i, i + 8)
  if number > highest then -- no replica has presented it yet
    highest = number
    if reason == '' then
      local event = {type = eventType, data = data, fill = fill, fillAt = tonumber(fillAt), progress = progress,
        nonce = nonce, final = final}
      local origin = marker .. ' ' .. string.format('%.0f', number) .. '\n'
      if add(history, meta, live, rule, event, origin) ~= 'ok' then reason = '"the task has already ended"' end
    end
    announced = reason == ''
    if announced then
      storedNow = storedNow + 1
    else
      reject(reason, payload)
      rejectedNow = rejectedNow + 1
    end
  end
  number = number + 1
end
if highest > before then
  redis.call('SET', adopted, string.format('%.0f', highest), 'EX', adoptedTTL)
  if unheard == '1' or not announced then
    -- The others do some work in vain without it: no reason to fail.
    redis.pcall('PUBLISH', notices, marker .. ' ' .. string.format('%.0f', highest) .. ' ' .. channel)
  end
end
return {before, storedNow, rejectedNow}
