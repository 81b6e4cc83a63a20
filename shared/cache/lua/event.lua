#!lua flags=allow-oom
--[[
  The row was changed by these transactions: drop what did not see them, warn who is filling.
  Two independent steps for each representation: a fresh body never ends the script, and a lease is warned
  whatever its deadline says (its filler may be late, and will be believed).

  KEYS[1]  row record
  ARGV     transaction ids, decimal

  Returns  'applied'        a body was dropped or a lease was warned
           'already_fresh'  every body had seen every change (own write, replay, duplicate)
           'absent'         nothing is kept of this row
--]]
local key = KEYS[1]

-- More changes than this during one fill: the row is busy, the filler has lost.
local MOST_XIDS = 16
local LEFTOVER_MS = 60000

local fields = redis.call('HKEYS', key)
if #fields == 0 then return 'absent' end

local function sees_all(snapshot)
  local xmin, xmax, running = string.match(snapshot, '^(%d+):(%d+):(.*)$')
  xmin, xmax, running = tonumber(xmin), tonumber(xmax), ',' .. running .. ','
  for _, xid in ipairs(ARGV) do
    local number = tonumber(xid)
    if number >= xmin and (number >= xmax or string.find(running, ',' .. xid .. ',', 1, true)) then
      return false
    end
  end
  return true
end

local function warn(rep)
  local noted = redis.call('HGET', key, 'x:' .. rep) or ''
  local set, count = {}, 0
  for xid in string.gmatch(noted, '%d+') do
    set[xid] = true
    count = count + 1
  end
  for _, xid in ipairs(ARGV) do
    if not set[xid] then
      set[xid] = true
      count = count + 1
      noted = noted == '' and xid or noted .. ' ' .. xid
    end
  end
  if count > MOST_XIDS then
    redis.call('HDEL', key, 'l:' .. rep, 'x:' .. rep)
  else
    redis.call('HSET', key, 'x:' .. rep, noted)
  end
end

local touched, bodies = false, false
for _, field in ipairs(fields) do
  local kind, rep = string.sub(field, 1, 2), string.sub(field, 3)
  if kind == 's:' then
    if sees_all(redis.call('HGET', key, field)) then
      bodies = true
    else
      redis.call('HDEL', key, 'b:' .. rep, 's:' .. rep, 'm:' .. rep)
      touched = true
    end
  elseif kind == 'l:' then
    warn(rep)
    touched = true
  end
end

-- A record without a body never stays for ever: its filler may be dead.
if not bodies and redis.call('PTTL', key) == -1 then
  redis.call('PEXPIRE', key, LEFTOVER_MS)
end
return touched and 'applied' or 'already_fresh'
