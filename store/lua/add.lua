-- add.lua: the step that append.lua and adopt.lua share. It is put in front of both.
--
-- add(history, meta, live, rule, event, origin) numbers an event, stores it and announces it.
--   history, meta  keys of the channel (see keys.go)
--   live           pub/sub channel for the announcement
--   rule           capacity (events), ttl, metaTTL, finalTTL (seconds), base (nonce for offset 0 of a new channel)
--   event          type, data (JSON), fill ('id': put id and timestamp into data; 'progress': replace its
--                  "progress":null by the progress of the state before), nonce, final ('1'), ifNew ('1')
--   origin         text in front of the announcement ('' for none)
-- Returns status ('ok', 'ended', 'exists'), id, time in milliseconds.
--
-- JSON is put together from strings, never by cjson, which would change numbers and empty arrays.
local function add(history, meta, live, rule, event, origin)
  local known = redis.call('HMGET', meta, 'nonce', 'base', 'final')
  if known[3] then return 'ended' end
  if event.ifNew == '1' and known[1] then return 'exists' end
  if not known[2] then redis.call('HSET', meta, 'base', rule.base) end

  local data, final = event.data, ''
  if event.fill == 'progress' then
    local last, progress = redis.call('LINDEX', history, 0), '0'
    if last then progress = string.match(last, '"data":{"taskId":"[^"]*","progress":([%d.e+-]+)') or '0' end
    data = string.gsub(data, '"progress":null', '"progress":' .. progress, 1)
  end

  local prev = known[1] or known[2] or rule.base
  local offset = redis.call('HINCRBY', meta, 'offset', 1)
  local clock = redis.call('TIME')
  local time = string.format('%.0f', clock[1] * 1000 + math.floor(clock[2] / 1000))
  local id = string.format('%.0f', offset) .. '-' .. event.nonce
  if event.fill == 'id' then
    data = '{"id":"' .. id .. '","timestamp":' .. time .. ',' .. string.sub(data, 2)
  end
  if event.final == '1' then final = '"final":true,' end
  local text = '{"id":"' .. id .. '","prev":"' .. prev .. '","time":' .. time ..
    ',"type":"' .. event.type .. '",' .. final .. '"data":' .. data .. '}'

  redis.call('HSET', meta, 'nonce', event.nonce)
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
  return 'ok', id, time, text
end
