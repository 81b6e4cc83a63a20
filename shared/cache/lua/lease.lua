#!lua
--[[
  The right of one filler, in the whole fleet, to fill one representation of one row.

  KEYS[1]  row record
  ARGV[1]  representation
  ARGV[2]  stamp under which the entry is going to be made
  ARGV[3]  token of the asking filler
  ARGV[4]  lease, milliseconds
  ARGV[5]  fill id of the entry that the caller judged unservable, or ''

  Returns  {'present', body, meta}   an entry of this stamp is there already
           {'wait', milliseconds}    somebody else fills; how long their lease still runs
           {'granted', now}          the lease is the caller's; Redis' clock, milliseconds
--]]
local key, rep, stamp, token = KEYS[1], ARGV[1], ARGV[2], ARGV[3]
local lease_ms, judged = tonumber(ARGV[4]), ARGV[5]

-- A filler may come after its deadline as long as the lease is still in the record; then the record goes.
local LEFTOVER_MS = 60000

local meta = redis.call('HGET', key, 'm:' .. rep)
if meta then
  local same = string.sub(meta, 1, #stamp + 1) == stamp .. '\t'
  local fill_id = string.match(meta, '^[^\t]*\t([^\t]*)')
  if same and fill_id ~= judged then
    return { 'present', redis.call('HGET', key, 'b:' .. rep), meta }
  end
  redis.call('HDEL', key, 'b:' .. rep, 's:' .. rep, 'm:' .. rep)
end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local held = redis.call('HGET', key, 'l:' .. rep)
if held then
  local deadline = tonumber(string.match(held, ':(%d+)$'))
  if deadline > now then
    return { 'wait', deadline - now }
  end
end

redis.call('HSET', key, 'l:' .. rep, token .. ':' .. string.format('%.0f', now + lease_ms))
-- Changes noted under an older lease say nothing about a snapshot that is going to be taken after this answer.
redis.call('HDEL', key, 'x:' .. rep)

local bodies = false
for _, field in ipairs(redis.call('HKEYS', key)) do
  if string.sub(field, 1, 2) == 'b:' then bodies = true end
end
local ttl = redis.call('PTTL', key)
if not bodies or (ttl >= 0 and ttl < lease_ms + LEFTOVER_MS) then
  redis.call('PEXPIRE', key, lease_ms + LEFTOVER_MS)
end
return { 'granted', now }
