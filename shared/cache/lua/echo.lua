#!lua flags=allow-oom
--[[
  A beat is settled on one partition. Once it is on all of them its nonces are published, once.

  KEYS[1]  beats of one writer: p:<partition> → highest settled number · n:<number> → nonces
  ARGV[1]  partition
  ARGV[2]  number of the settled beat
  ARGV[3]  number of partitions
  ARGV[4]  channel

  Returns  how many beats were published
--]]
local key, partition, number = KEYS[1], ARGV[1], tonumber(ARGV[2])
local before = tonumber(redis.call('HGET', key, 'p:' .. partition) or '0')
if number > before then redis.call('HSET', key, 'p:' .. partition, ARGV[2]) end
redis.call('PEXPIRE', key, 60000)

local least = math.huge
for i = 0, tonumber(ARGV[3]) - 1 do
  local settled = tonumber(redis.call('HGET', key, 'p:' .. i) or '0')
  if settled < least then least = settled end
end

local published = 0
for _, field in ipairs(redis.call('HKEYS', key)) do
  if string.sub(field, 1, 2) == 'n:' and tonumber(string.sub(field, 3)) <= least then
    redis.call('PUBLISH', ARGV[4], redis.call('HGET', key, field))
    redis.call('HDEL', key, field)
    published = published + 1
  end
end
return published
