#!lua flags=allow-oom
--[[
  Forgets how far a partition of a feed was applied: what was cached before cannot be trusted. Who follows it stays
  known, so that an earlier worker cannot put a position of its own in the empty place.

  KEYS[1]  position of one partition
  ARGV[1]  worker

  Returns  'forgotten' or 'superseded' (another worker follows the partition now)
--]]
local key = KEYS[1]
local owner = redis.call('HGET', key, 'owner')
if owner and owner ~= ARGV[1] then return 'superseded' end
redis.call('DEL', key)
redis.call('HSET', key, 'owner', ARGV[1])
return 'forgotten'
