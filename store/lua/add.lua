-- add.lua holds the step that append.lua and adopt.lua share. Its text is put in front of both.
--
-- add(history, meta, live, rule, event, origin) numbers an event, stores it and announces it.
--
--   history, meta   keys of the channel (see keys.go)
--   live            the pub/sub channel on which the event is announced
--   rule.capacity   how many events the history keeps, a number
--   rule.ttl        seconds that the history is kept after an event, rule.metaTTL those that the position is kept
--   rule.finalTTL   seconds that both are kept after a final event
--   rule.base       the nonce of offset 0, if the channel has none yet
--   event.type      the event's type
--   event.data      the event's data, a JSON text
--   event.fill      what is inserted into the data: 'id' for id and timestamp, 'progress' for the last progress of the
--                   task, '' for nothing
--   event.fillAt    how many bytes of the data stand before the insertion, a number
--   event.progress  the progress to remember for a later event that has none, '' for none
--   event.nonce     the event's nonce
--   event.final     '1' if the channel takes no event after this one
--   event.ifNew     '1' if the event is refused on a channel that has had one
--   origin          text in front of the announcement
--
-- It returns a status and, with 'ok', the stored text. The other statuses are 'ended' and 'exists'.
--
-- JSON is put together from strings and never by cjson, which would change numbers and empty arrays.
local function add(history, meta, live, rule, event, origin)
  local nonce, base, ended, progress = unpack(redis.call('HMGET', meta, 'nonce', 'base', 'final', 'progress'))
  if ended then return 'ended' end
  if event.ifNew == '1' and nonce then return 'exists' end
  if not base then
    base = rule.base
    redis.call('HSET', meta, 'base', base)
  end

  local offset = redis.call('HINCRBY', meta, 'offset', 1)
  local clock = redis.call('TIME')
  local time = string.format('%.0f', clock[1] * 1000 + math.floor(clock[2] / 1000))
  local id = string.format('%.0f', offset) .. '-' .. event.nonce

  local fields = ''
  if event.fill == 'id' then fields = '"id":"' .. id .. '","timestamp":' .. time .. ',' end
  if event.fill == 'progress' then fields = '"progress":' .. (progress or '0') .. ',' end
  local data = string.sub(event.data, 1, event.fillAt) .. fields .. string.sub(event.data, event.fillAt + 1)
  local final = ''
  if event.final == '1' then final = '"final":true,' end
  local text = '{"id":"' .. id .. '","prev":"' .. (nonce or base) .. '","time":' .. time ..
    ',"type":"' .. event.type .. '",' .. final .. '"data":' .. data .. '}'

  redis.call('HSET', meta, 'nonce', event.nonce)
  if event.progress ~= '' then redis.call('HSET', meta, 'progress', event.progress) end
  redis.call('LPUSH', history, text)
  redis.call('LTRIM', history, 0, rule.capacity - 1)
  if event.final == '1' then
    redis.call('HSET', meta, 'final', '1')
    redis.call('EXPIRE', history, rule.finalTTL)
    redis.call('EXPIRE', meta, rule.finalTTL)
  else
    redis.call('EXPIRE', history, rule.ttl)
    redis.call('EXPIRE', meta, rule.metaTTL)
  end
  redis.call('PUBLISH', live, origin .. text)
  return 'ok', text
end
