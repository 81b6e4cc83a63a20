#!lua flags=allow-oom
--[[
  Gives back a lease that is not going to be used, so that nobody waits for its end.

  KEYS[1]  row record
  ARGV[1]  representation
  ARGV[2]  token of the lease

  Returns  1 if the lease was the caller's, else 0
--]]
local key, rep = KEYS[1], ARGV[1]
local held = redis.call('HGET', key, 'l:' .. rep)
if not held or string.match(held, '^(.*):%d+$') ~= ARGV[2] then return 0 end
redis.call('HDEL', key, 'l:' .. rep, 'x:' .. rep)
return 1
