-- read.lua reads a part of a channel's history, and where the channel stands at that moment. It writes nothing. A full Redis
-- runs it, while it refuses a transaction.
--
-- An event's index in the list is the newest offset minus its own: nothing is ever taken out of the middle of the list.
--
-- KEYS
--   history
--   meta
--
-- ARGV, as readArgs in read.go sends it
--   newest   the offset of the newest event that is wanted; '' for the channel's newest one
--   oldest   the offset of the oldest one; '' for any
--   most     how many events at most, of these the newest; with '-' in front, the oldest of the list instead
--
-- It returns the fields offset, nonce, base and final of meta, the index of the first event that was read, and the list of
-- the events, newest first.
local history, meta = unpack(KEYS)
local newest, oldest, most = ARGV[1], ARGV[2], tonumber(ARGV[3])
local v = redis.call('HMGET', meta, 'offset', 'nonce', 'base', 'final')
local tip = tonumber(v[1] or '0') or 0
local first, last = 0, most - 1
if most < 0 then
  first, last = math.max(0, redis.call('LLEN', history) + most), -1
else
  if newest ~= '' then first = math.max(0, tip - tonumber(newest)) end
  last = first + most - 1
  if oldest ~= '' then last = math.min(last, tip - tonumber(oldest)) end
end
local events = {}
if last >= first or last == -1 and most < 0 then events = redis.call('LRANGE', history, first, last) end
return {v[1], v[2], v[3], v[4], first, events}
