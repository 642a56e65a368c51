-- append.lua adds events to a channel in one atomic step: it numbers them, stores them and announces them in one message.
--
-- KEYS
--   history
--   meta
--   then, for each event with an idempotency key, the key that holds the result of an earlier call with it
--
-- ARGV, as channelArgs in script.go sends it
--   live         see add.lua, like all that is not explained here
--   capacity
--   ttl
--   metaTTL
--   finalTTL
--   base
--   onceTTL      seconds that a result is kept for its idempotency key
--
-- ARGV then, for each event, as appendArgs in script.go sends it
--   eventType
--   data
--   fill
--   fillAt
--   progress
--   nonce
--   final
--   ifNew
--   once         '1' if the event has an idempotency key
--
-- It returns a status and a text for each event, one after the other:
--   'ok', text         the event is stored
--   'again', text      the idempotency key was used before: nothing was done, and text is the event of that time
--   'ended', ''        the channel had a final event
--   'exists', ''       ifNew is '1' and the channel has had an event
--   'refused', error   Redis refused it: nothing was done
--   'unknown', error   Redis refused it, and refused to undo what was done before
local argv = ARGV
local live, capacity, ttl, metaTTL, finalTTL, base, onceTTL = unpack(argv, 1, 7)
local history, meta = KEYS[1], KEYS[2]
local rule = {capacity = tonumber(capacity), ttl = ttl, metaTTL = metaTTL, finalTTL = finalTTL, base = base}

local reply = {}    -- what is returned
local hanging = {}  -- indices of reply whose status is true only if the commit succeeds
local claims = {}
local claimed = {}  -- text by key
local keys = 2      -- how many are used
local channel

for i = 8, #argv, 9 do
  local status, text, once
  if argv[i + 8] == '1' then
    keys = keys + 1
    once = KEYS[keys]
    text = claimed[once]
    if text then
      status = 'again'
    else
      text = redis.pcall('GET', once)
      if type(text) == 'table' then -- another program's key
        status, text = 'refused', text.err
      elseif text and text ~= '' then
        status = 'again'
      end
    end
  end
  if not status then
    if not channel then
      local unreadable
      channel, unreadable = open(history, meta, live, rule)
      if not channel then return unreadable end
    end
    status, text = take(channel, unpack(argv, i, i + 7))
    if status == 'ok' and once then
      claimed[once] = text
      claims[#claims + 1] = {key = once, value = text, ttl = onceTTL}
    end
  end
  local n = #reply + 1
  reply[n], reply[n + 1] = status, text or ''
  if channel and #channel.texts > 0 and (not once or claimed[once] or status == 'exists' or status == 'ended') then
    hanging[#hanging + 1] = n
  end
end

if channel and #channel.texts > 0 then
  local refusal, undone = commit(channel, claims, '')
  if refusal then
    for i = 1, #hanging do
      local n = hanging[i]
      reply[n], reply[n + 1] = undone and 'refused' or 'unknown', refusal.err
    end
  end
end
return reply
