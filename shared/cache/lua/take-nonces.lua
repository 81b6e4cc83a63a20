#!lua flags=allow-oom
--[[
  Takes the nonces that processes have left for the next beat.

  KEYS[1]  nonces: process → nonce
  Returns  process and nonce alternating
--]]
local nonces = redis.call('HGETALL', KEYS[1])
redis.call('DEL', KEYS[1])
return nonces
