#!lua flags=allow-oom
--[[
  A new epoch: every entry made before is a miss from now on. Epoch, incarnation and the tables' generations
  are written together, so that no reader can pair an old one with a new one.

  KEYS[1]  control
  ARGV[1]  epoch, random
  ARGV[2]  run id of the server, as it told on this connection; where control names another one it is refused
  ARGV[3]  incarnation of the database, or '' to leave it
  ARGV[4]  '<epoch> <worker>' or '' for any: the epoch must still stand, since what came up while a gap was being
           closed is not closed with it; and where somebody leads, it must be that worker
  ARGV[5…] pairs: field of a table, '<generation> <digest>'

  Returns  'raised', 'other_run' or 'other_epoch'
--]]
local key = KEYS[1]
-- Without a run id the record was evicted or flushed away, in a server that its caller has adopted.
local run = redis.call('HGET', key, 'run')
if run and run ~= ARGV[2] then return 'other_run' end
local expected, worker = string.match(ARGV[4], '^([^ ]*) ?(.*)$')
if expected ~= '' and redis.call('HGET', key, 'epoch') ~= expected then return 'other_epoch' end
local leads = redis.call('HGET', key, 'worker')
if worker ~= '' and leads and leads ~= worker then return 'other_epoch' end
redis.call('HSET', key, 'run', ARGV[2], 'epoch', ARGV[1])
if ARGV[3] ~= '' then redis.call('HSET', key, 'incarnation', ARGV[3]) end
-- A pair at a time: a database may have more tables than fit on Lua's stack.
for i = 5, #ARGV, 2 do redis.call('HSET', key, ARGV[i], ARGV[i + 1]) end
return 'raised'
