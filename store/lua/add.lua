-- add.lua holds the steps that append.lua and adopt.lua share. Its text is put in front of both.
--
--   open    reads where a channel stands
--   take    numbers an event; nothing is written yet
--   commit  writes and announces all events that were taken, or nothing
--
-- A script is not a transaction: Redis keeps what a script wrote before it failed. So all that can be wrong with a key is
-- found by reading first, and a write that Redis refuses is answered by undoing the writes before it.
--
-- JSON is put together from strings and never by cjson, which would change numbers and empty arrays.

-- maybe calls Redis and returns its refusal, a table with the field err, or nil.
local function maybe(...)
  local reply = redis.pcall(...)
  if type(reply) == 'table' and reply.err then return reply end
end

local function is_nonce(text) return #text == 10 and string.find(text, '^[0-9a-v]+[048cgkos]$') end

-- open(history, meta, live, rule) reads where a channel stands. Keys of another type than the gateway's end the script by
-- WRONGTYPE. If the fields of the hash are not the gateway's, it returns nil and an error.
--
--   history, meta   keys of the channel (see keys.go)
--   live            the pub/sub channel on which the events are announced
--   rule.capacity   how many events the history keeps, a number
--   rule.ttl        seconds that the history is kept after an event, rule.metaTTL those that the position is kept
--   rule.finalTTL   seconds that both are kept after a final event
--   rule.base       the nonce of offset 0, if the channel has none yet
local function open(history, meta, live, rule)
  local v = redis.call('HMGET', meta, 'nonce', 'base', 'final', 'progress', 'offset')
  for i = 1, 5 do
    if v[i] == '' then v[i] = false end -- an empty field is none, see undo
  end
  local old = {nonce = v[1], base = v[2], final = v[3], progress = v[4], offset = v[5]}
  local readable = (not old.nonce or is_nonce(old.nonce)) and (not old.base or is_nonce(old.base)) and
    (not old.progress or string.find(old.progress, '^%d+%.?%d*$') or string.find(old.progress, '^%d+%.?%d*e%-?%d+$')) and
    (not old.offset or string.find(old.offset, '^%d+$') and #old.offset <= 15)
  if not readable then return nil, redis.error_reply('UNREADABLE The hash is not the gateway\'s') end
  local clock = redis.call('TIME')
  return {
    history = history, meta = meta, live = live, rule = rule, old = old, length = redis.call('LLEN', history),
    nonce = old.nonce, base = old.base or rule.base, offset = tonumber(old.offset or '0'), progress = old.progress,
    final = old.final, time = string.format('%.0f', clock[1] * 1000 + math.floor(clock[2] / 1000)), texts = {},
  }
end

-- take(channel, eventType, data, fill, fillAt, progress, nonce, final, ifNew) numbers an event and puts its text together.
--
--   eventType  the event's type
--   data       the event's data, a JSON text
--   fill       what is inserted into the data: 'id' for id and timestamp, 'progress' for the last progress of the task, ''
--              for nothing
--   fillAt     how many bytes of the data stand before the insertion
--   progress   the progress to remember for a later event that has none, '' for none
--   nonce      the event's nonce
--   final      '1' if the channel takes no event after this one
--   ifNew      '1' if the event is refused on a channel that has had one
--
-- It returns a status and, with 'ok', the text to store. The other statuses are 'ended' and 'exists'.
local function take(channel, eventType, data, fill, fillAt, progress, nonce, final, ifNew)
  if channel.final then return 'ended' end
  if ifNew == '1' and channel.nonce then return 'exists' end
  channel.offset = channel.offset + 1
  local id = string.format('%.0f', channel.offset) .. '-' .. nonce
  if fill ~= '' then
    local fields = ''
    if fill == 'id' then fields = '"id":"' .. id .. '","timestamp":' .. channel.time .. ',' end
    if fill == 'progress' then fields = '"progress":' .. (channel.progress or '0') .. ',' end
    fillAt = tonumber(fillAt)
    data = string.sub(data, 1, fillAt) .. fields .. string.sub(data, fillAt + 1)
  end
  local mark = ''
  if final == '1' then mark, channel.final = '"final":true,', '1' end
  if progress ~= '' then channel.progress = progress end
  local text = '{"id":"' .. id .. '","prev":"' .. (channel.nonce or channel.base) .. '","time":' .. channel.time ..
    ',"type":"' .. eventType .. '",' .. mark .. '"data":' .. data .. '}'
  channel.nonce = nonce
  channel.texts[#channel.texts + 1] = text
  return 'ok', text
end

-- write writes what was taken, up to the announcement, and notes in done what it has written. It returns a refusal.
local function write(channel, claims, origin, done)
  for i = 1, #claims do
    local c = claims[i]
    local refusal = maybe('SET', c.key, c.value, 'EX', c.ttl)
    if refusal then return refusal end
    done.claims = i
  end
  if #channel.texts == 0 then return end
  local history, meta, rule, texts = channel.history, channel.meta, channel.rule, channel.texts
  local fields = {'offset', string.format('%.0f', channel.offset), 'nonce', channel.nonce}
  if not channel.old.base then fields[#fields + 1] = 'base'; fields[#fields + 1] = channel.base end
  if channel.progress ~= channel.old.progress then
    fields[#fields + 1] = 'progress'; fields[#fields + 1] = channel.progress
  end
  if channel.final then fields[#fields + 1] = 'final'; fields[#fields + 1] = channel.final end
  local refusal = maybe('HSET', meta, unpack(fields))
  if refusal then return refusal end
  done.fields = fields
  -- The list was trimmed by the call before, unless Redis refused that, or the capacity is smaller since.
  if channel.length > rule.capacity then
    refusal = maybe('LTRIM', history, 0, rule.capacity - 1)
    if refusal then return refusal end
  end
  refusal = maybe('LPUSH', history, unpack(texts))
  if refusal then return refusal end
  done.pushed = #texts
  local ttl, metaTTL = rule.ttl, rule.metaTTL
  if channel.final then ttl, metaTTL = rule.finalTTL, rule.finalTTL end
  return maybe('EXPIRE', history, ttl) or maybe('EXPIRE', meta, metaTTL) or
    maybe('PUBLISH', channel.live, origin .. table.concat(texts, '\n'))
end

-- undo takes back what write has written. It returns false if Redis refuses that as well. Where it can, it uses commands
-- that Redis has just permitted: an empty claim, and an empty field of the hash, are none.
local function undo(channel, claims, done)
  if done.pushed then
    if maybe('LTRIM', channel.history, done.pushed, -1) then
      return false -- The events stay, with their claims. Only the announcement is missing, and replicas find them.
    end
    if channel.final then maybe('EXPIRE', channel.history, channel.rule.ttl) end
  end
  local undone = true
  if done.fields then
    local before, new, empty = {}, {}, {}
    for i = 1, #done.fields, 2 do
      local name = done.fields[i]
      local value = channel.old[name]
      if value then
        before[#before + 1] = name; before[#before + 1] = value
      else
        new[#new + 1] = name
        empty[#empty + 1] = name; empty[#empty + 1] = ''
      end
    end
    if #before > 0 and maybe('HSET', channel.meta, unpack(before)) then undone = false end
    if #new > 0 and maybe('HDEL', channel.meta, unpack(new)) and maybe('HSET', channel.meta, unpack(empty)) then
      undone = false
    end
    maybe('EXPIRE', channel.meta, channel.rule.metaTTL)
  end
  for i = 1, done.claims do
    local c = claims[i]
    local refusal
    if c.before then
      refusal = maybe('SET', c.key, c.before, 'EX', c.ttl)
    else
      refusal = maybe('SET', c.key, '', 'PX', 1)
    end
    if refusal then undone = false end
  end
  return undone
end

-- commit(channel, claims, origin) writes the claims and the events that were taken, and announces these in one message.
--
--   claims    what marks the work as done: a list of {key, value, ttl, before}; ttl in seconds, before is the value that
--             the key had, nil for none
--   origin    text in front of the announcement
--
-- If Redis refuses a part, commit returns its refusal, and whether everything was undone.
local function commit(channel, claims, origin)
  local done = {claims = 0}
  local refusal = write(channel, claims, origin, done)
  if refusal then return refusal, undo(channel, claims, done) end
  -- What is trimmed cannot come back, so it goes last. If Redis refuses it, the next call finds the list too long.
  if done.pushed and channel.length + done.pushed > channel.rule.capacity then
    maybe('LTRIM', channel.history, 0, channel.rule.capacity - 1)
  end
end
