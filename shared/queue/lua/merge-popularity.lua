--[[
  Adds reads to the popularity of rows, decayed by their age.

  A score is the logarithm of a sum, in which a read counts 2^(time of the read / half-life): a read one half-life
  older counts half as much, whenever one looks. So scores never have to be touched to let them age, and as
  logarithms they do not overflow either. The time is this server's, one clock for all who count.

  KEYS[1]  sorted set: row tag → log2 of the sum
  ARGV[1]  half-life in milliseconds
  ARGV[2]  rows kept: the least read beyond them are forgotten
  ARGV[3]  milliseconds until all is forgotten when nobody counts any more
  ARGV     from here in pairs: row tag, reads

  Returns  the number of rows known now
--]]
local key = KEYS[1]
local half_life, keep, forget_after = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3]

local time = redis.call('TIME')
local now = (tonumber(time[1]) * 1000 + tonumber(time[2]) / 1000) / half_life
local log2 = math.log(2)

for i = 4, #ARGV, 2 do
  local tag = ARGV[i]
  local score = now + math.log(tonumber(ARGV[i + 1])) / log2
  local before = tonumber(redis.call('ZSCORE', key, tag) or nil)
  if before then
    local high, low = math.max(before, score), math.min(before, score)
    score = high + math.log(1 + 2 ^ (low - high)) / log2
  end
  redis.call('ZADD', key, string.format('%.17g', score), tag)
end

redis.call('ZREMRANGEBYRANK', key, 0, -keep - 1)
redis.call('PEXPIRE', key, forget_after)
return redis.call('ZCARD', key)
