#!lua
--[[
  Stores what a filler read, if its lease still stands and its snapshot saw every change noted meanwhile.

  KEYS[1]  row record
  ARGV[1]  representation
  ARGV[2]  token of the lease
  ARGV[3]  snapshot of the reading statement, xmin:xmax:xip,…
  ARGV[4]  body
  ARGV[5]  meta
  ARGV[6]  time to live, milliseconds; 0 for none

  Returns  'stored'
           'fenced'      a change came that the snapshot does not see; the lease is given back
           'lease_lost'  evicted, dropped or given to somebody else
--]]
local key, rep, token, snapshot = KEYS[1], ARGV[1], ARGV[2], ARGV[3]
local ttl_ms = tonumber(ARGV[6])

local xmin, xmax, running = string.match(snapshot, '^(%d+):(%d+):(.*)$')
xmin, xmax, running = tonumber(xmin), tonumber(xmax), ',' .. running .. ','
local function sees(xid)
  local number = tonumber(xid)
  return number < xmin or (number < xmax and not string.find(running, ',' .. xid .. ',', 1, true))
end

local held = redis.call('HGET', key, 'l:' .. rep)
if not held or string.match(held, '^(.*):%d+$') ~= token then
  return 'lease_lost'
end

for xid in string.gmatch(redis.call('HGET', key, 'x:' .. rep) or '', '%d+') do
  if not sees(xid) then
    redis.call('HDEL', key, 'l:' .. rep, 'x:' .. rep)
    return 'fenced'
  end
end

local others = false
for _, field in ipairs(redis.call('HKEYS', key)) do
  if string.sub(field, 1, 2) == 'b:' and field ~= 'b:' .. rep then others = true end
end
local left = redis.call('PTTL', key)

redis.call('HSET', key, 'b:' .. rep, ARGV[4], 's:' .. rep, snapshot, 'm:' .. rep, ARGV[5])
redis.call('HDEL', key, 'l:' .. rep, 'x:' .. rep)

-- The record lives as long as its longest representation.
if ttl_ms == 0 then
  redis.call('PERSIST', key)
elseif not others then
  redis.call('PEXPIRE', key, ttl_ms)
elseif left >= 0 and left < ttl_ms then
  redis.call('PEXPIRE', key, ttl_ms)
end
return 'stored'
