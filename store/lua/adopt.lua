-- adopt.lua takes raw messages into a channel, each exactly once however many replicas present it. A message is named
-- by a marker and by its number since that marker. The messages of one call have one marker and successive numbers. They
-- are taken in together, or none of them is.
--
-- KEYS
--   history
--   meta
--   adopted      the highest number since the marker that was taken in
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
--   name         the channel's name
--   unheard      '1' if not everybody who gets the raw messages gets the announcements of their events
--   session      a pub/sub channel: without a subscriber of it nothing is done; '' to do it anyway
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
-- It returns five values: highest number taken in before, events stored now, messages rejected now, how many of these
-- Redis did not put into the list, and an error with which nothing was stored and undoing was refused, or ''. If
-- everything was undone, the error is the reply.
local argv = ARGV
local live, capacity, ttl, metaTTL, finalTTL, base, first, marker, adoptedTTL, rejectedCap,
  rejectedTTL, notices, name, unheard, session = unpack(argv, 1, 15)
local history, meta, adopted, rejected = unpack(KEYS)
local rule = {capacity = tonumber(capacity), ttl = ttl, metaTTL = metaTTL, finalTTL = finalTTL, base = base}

if session ~= '' and redis.call('PUBSUB', 'NUMSUB', session)[2] == 0 then
  return redis.error_reply('ELSEWHERE The messages came from another Redis')
end

local claim = redis.call('GET', adopted)
if claim == '' then claim = false end -- add.lua took it back
local before = tonumber(claim or '0')
if not before then return redis.error_reply('UNREADABLE The number is not the gateway\'s') end

local highest, number = before, tonumber(first)
local channel
local rejects = {}
for i = 16, #argv, 9 do
  if number > highest then -- nobody has taken it in
    highest = number
    local reason = argv[i]
    if reason == '' then
      if not channel then
        local unreadable
        channel, unreadable = open(history, meta, live, rule)
        if not channel then return unreadable end
      end
      if take(channel, unpack(argv, i + 2, i + 8)) ~= 'ok' then reason = '"the task has already ended"' end
    end
    if reason ~= '' then rejects[#rejects + 1] = {reason = reason, payload = argv[i + 1]} end
  end
  number = number + 1
end
if highest == before then return {before, 0, 0, 0, ''} end

local newest = string.format('%.0f', highest)
channel = channel or {texts = {}}
local claims = {{key = adopted, value = newest, ttl = adoptedTTL, before = claim}}
local refusal, undone = commit(channel, claims, marker .. ' ' .. newest .. '\n')
if refusal then
  if undone then return refusal end
  return {before, 0, 0, 0, refusal.err}
end

-- The other replicas work in vain without a notice, so it is no reason to fail.
if unheard == '1' or #channel.texts == 0 then maybe('PUBLISH', notices, marker .. ' ' .. newest .. ' ' .. name) end

-- The messages are done with. A list that is another program's must not hold up those that come after them.
local unlisted = 0
if #rejects > 0 then
  local clock = redis.call('TIME')
  local time = string.format('%.0f', clock[1] * 1000 + math.floor(clock[2] / 1000))
  local texts = {}
  for i = 1, #rejects do
    texts[i] = '{"time":' .. time .. ',"reason":' .. rejects[i].reason .. ',"payload":' .. rejects[i].payload .. '}'
  end
  if maybe('LPUSH', rejected, unpack(texts)) then unlisted = #rejects end
  maybe('LTRIM', rejected, 0, tonumber(rejectedCap) - 1)
  maybe('EXPIRE', rejected, rejectedTTL)
end
return {before, #channel.texts, #rejects, unlisted, ''}
