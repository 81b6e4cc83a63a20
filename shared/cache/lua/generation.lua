#!lua flags=allow-oom
--[[
  A new generation of tables: entries of their rows made before are misses from now on.

  KEYS[1]  control
  ARGV[1]  epoch the caller works under
  ARGV[2…] pairs: field of a table, '<generation> <digest>'

  Returns  'raised' or 'other_epoch' (control was lost or replaced: a gap)
--]]
local key = KEYS[1]
if redis.call('HGET', key, 'epoch') ~= ARGV[1] then return 'other_epoch' end
local fields = {}
for i = 2, #ARGV do fields[#fields + 1] = ARGV[i] end
redis.call('HSET', key, unpack(fields))
return 'raised'
