#!lua flags=allow-oom
--[[
  Makes this Redis server the one whose contents are believed. A server with another run id was restarted,
  restored or promoted: its last fences may be missing, so the first process to meet it starts a new epoch.

  KEYS[1]  control
  ARGV[1]  run id of the server, as it told on this connection
  ARGV[2]  a random value, the new epoch if one is needed

  Returns  'known' or 'adopted'
--]]
local key, run, epoch = KEYS[1], ARGV[1], ARGV[2]
if redis.call('HGET', key, 'run') == run and redis.call('HEXISTS', key, 'epoch') == 1 then
  return 'known'
end
redis.call('HSET', key, 'run', run, 'epoch', epoch)
return 'adopted'
