-- adopt.lua: take raw messages into a channel, each exactly once however many replicas present it.
-- Messages are named by a marker and their number since it: the first presented one is number ARGV[7].
-- KEYS[1] history, KEYS[2] meta, KEYS[3] adopted, KEYS[4] rejected
-- ARGV[1..6]   live, capacity, ttl, metaTTL, finalTTL, base
-- ARGV[7..11]  first number, marker, adoptedTTL, capacity and ttl of the rejected list
-- ARGV[12...]  seven per message, in order: what ('event' or 'rejected'), type, data, fill, nonce, final, payload
--              (payload: the rejected text as JSON, with its reason: '"reason":...,"payload":...')
-- Returns {number adopted before, events stored now, messages rejected now}.
local rule = {capacity = tonumber(ARGV[2]), ttl = ARGV[3], metaTTL = ARGV[4], finalTTL = ARGV[5], base = ARGV[6]}
local first, marker = tonumber(ARGV[7]), ARGV[8]
local before = tonumber(redis.call('GET', KEYS[3]) or '0')
local highest, stored, rejected = before, 0, 0

local function reject(payload)
  local clock = redis.call('TIME')
  local time = string.format('%.0f', clock[1] * 1000 + math.floor(clock[2] / 1000))
  redis.call('LPUSH', KEYS[4], '{"time":' .. time .. ',' .. payload .. '}')
  redis.call('LTRIM', KEYS[4], 0, tonumber(ARGV[10]) - 1)
  redis.call('EXPIRE', KEYS[4], ARGV[11])
  rejected = rejected + 1
end

local number = first
for i = 12, #ARGV, 7 do
  if number > highest then
    highest = number
    if ARGV[i] == 'event' then
      local event = {type = ARGV[i + 1], data = ARGV[i + 2], fill = ARGV[i + 3], nonce = ARGV[i + 4],
        final = ARGV[i + 5]}
      local origin = marker .. ' ' .. string.format('%.0f', number) .. '\n'
      local status = add(KEYS[1], KEYS[2], ARGV[1], rule, event, origin)
      if status == 'ok' then
        stored = stored + 1
      else
        reject('"reason":"the task has already ended","payload":' .. ARGV[i + 6])
      end
    else
      reject(ARGV[i + 6])
    end
  end
  number = number + 1
end
if highest > before then
  redis.call('SET', KEYS[3], string.format('%.0f', highest), 'EX', ARGV[9])
end
return {before, stored, rejected}
