#!lua flags=allow-oom
--[[
  Remembers how far a partition of a feed was applied. Whoever followed it before and goes on after a pause must not
  put back what its successor has reached.

  KEYS[1]  position of one partition
  ARGV[1]  worker
  ARGV[2…] pairs: field, value

  Returns  'remembered' or 'superseded' (another worker follows the partition now)
--]]
local key = KEYS[1]
local owner = redis.call('HGET', key, 'owner')
if owner and owner ~= ARGV[1] then return 'superseded' end
redis.call('HSET', key, 'owner', ARGV[1], unpack(ARGV, 2))
return 'remembered'
