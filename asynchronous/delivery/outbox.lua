-- The webhooks' transactions, on the key that the queue's transactions fill (see ../queue.lua):
--   asynchronous:webhooks   zset   ended jobs with a callback URL, by the time at which the next attempt is due
-- While a delivery process makes an attempt, the due time is the end of its lease.

local webhooks = 'asynchronous:webhooks'

local function now()
  local time = redis.call('TIME')
  return time[1] + time[2] / 1e6
end

-- Claim: {count, lease, result_ttl}. Returns up to `count` due jobs as {job id, attempt, end of the lease, now}.
local function claim_due_webhooks(args)
  local call, claimed = cjson.decode(args[1]), {}
  local lease = string.format('%.6f', now() + call.lease)
  redis.call('ZREMRANGEBYSCORE', webhooks, '-inf', now() - call.result_ttl)
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', webhooks, '-inf', now(), 'LIMIT', 0, call.count)) do
    local job = 'asynchronous:job:' .. id
    local status = redis.call('HGET', job, 'status')
    if status == 'done' or status == 'failed' then
      redis.call('ZADD', webhooks, lease, id)
      local attempt = redis.call('HINCRBY', job, 'delivery_attempts', 1)
      claimed[#claimed + 1] = { id, attempt, lease, string.format('%.6f', now()) }
    else -- expired, or a dead letter that is retried: its end makes it due again
      redis.call('ZREM', webhooks, id)
    end
  end
  return claimed
end

-- Record an attempt: {job_id, lease, retry_in}; without `retry_in` it was the last. Does nothing if the webhook was
-- rescheduled in the meantime.
local function record_attempt(args)
  local call = cjson.decode(args[1])
  local due = redis.call('ZSCORE', webhooks, call.job_id)
  if not due or tonumber(due) ~= tonumber(call.lease) then return end
  if call.retry_in then
    redis.call('ZADD', webhooks, now() + call.retry_in, call.job_id)
  else
    redis.call('ZREM', webhooks, call.job_id)
  end
end
