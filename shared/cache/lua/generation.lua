#!lua flags=allow-oom
--[[
  A new generation of tables: entries of their rows made before are misses from now on.

  KEYS[1]  control
  ARGV[1]  epoch the caller works under; with a space and its name behind it, a worker that must still be the one
           that follows the database: a stopped one that goes on must not undo what its successor has seen
  ARGV[2…] pairs: field of a table, '<generation> <digest>'; '<generation> =' leaves the digest as it is, and a table
           that control does not know unknown

  Returns  'raised' or 'other_epoch' (control was lost or replaced: a gap; or another worker follows)
--]]
local key = KEYS[1]
local epoch, worker = string.match(ARGV[1], '^([^ ]*) ?(.*)$')
if redis.call('HGET', key, 'epoch') ~= epoch then return 'other_epoch' end
if worker ~= '' and redis.call('HGET', key, 'worker') ~= worker then return 'other_epoch' end
-- A pair at a time: a database may have more tables than fit on Lua's stack.
for i = 2, #ARGV, 2 do
  local state = ARGV[i + 1]
  local generation = string.match(state, '^(.*) =$')
  if generation then
    local before = redis.call('HGET', key, ARGV[i])
    state = before and generation .. string.match(before, ' .*$')
  end
  if state then redis.call('HSET', key, ARGV[i], state) end
end
return 'raised'
