-- The webhooks' transactions, on the keys that the queue's transactions fill (see ../queue.lua):
--   asynchronous:webhooks:HOST   zset   ended jobs with a callback URL at this host, by the due time of the next attempt
--   asynchronous:receivers       zset   the hosts, by the due time of the first of their webhooks
--   asynchronous:finished        stream ended jobs, for the result database; consumer group "delivery"
--   asynchronous:job:ID          hash   the job; gets stored_at and sent_at, when the database and the receiver have it
-- Each host has a list of its own, so one that hangs delays no other. While a delivery process makes an attempt, the due
-- time is the end of its lease.

local receivers = 'asynchronous:receivers'

local function webhooks_of(host)
  return 'asynchronous:webhooks:' .. host
end

local time = redis.call('TIME')
local now = time[1] + time[2] / 1e6

local function reschedule_host(host)
  local first = redis.call('ZRANGE', webhooks_of(host), 0, 0, 'WITHSCORES')
  if first[1] then redis.call('ZADD', receivers, first[2], host) else redis.call('ZREM', receivers, host) end
end

-- Acknowledge: {stored: [{entry, job_id, finished_at}]}. Removes entries whose results are in the database, and notes that
-- with their jobs; not with one that has expired, or whose dead letter was retried in the meantime.
local function acknowledge(args)
  for _, stored in ipairs(cjson.decode(args[1]).stored) do
    local job = 'asynchronous:job:' .. stored.job_id
    redis.call('XACK', 'asynchronous:finished', 'delivery', stored.entry)
    redis.call('XDEL', 'asynchronous:finished', stored.entry)
    if redis.call('HGET', job, 'finished_at') == stored.finished_at then redis.call('HSET', job, 'stored_at', now) end
  end
end

-- Claim: {places, busy: {host: places}, places_per_host, lease, result_ttl}. Returns due jobs, at most `places`, and of
-- each host at most as many as it has free places, as {job id, attempt, end of the lease, now, host}.
local function claim_due_webhooks(args)
  local call, claimed = cjson.decode(args[1]), {}
  local lease = string.format('%.6f', now + call.lease)
  for _, host in ipairs(redis.call('ZRANGEBYSCORE', receivers, '-inf', now, 'LIMIT', 0, 10000)) do
    local webhooks, free = webhooks_of(host), call.places_per_host - (call.busy[host] or 0)
    free = math.min(free, call.places - #claimed)
    if free > 0 then
      redis.call('ZREMRANGEBYSCORE', webhooks, '-inf', now - call.result_ttl)
      for _, id in ipairs(redis.call('ZRANGEBYSCORE', webhooks, '-inf', now, 'LIMIT', 0, free)) do
        local job = 'asynchronous:job:' .. id
        local status = redis.call('HGET', job, 'status')
        if status == 'done' or status == 'failed' then
          redis.call('ZADD', webhooks, lease, id)
          local attempt = redis.call('HINCRBY', job, 'delivery_attempts', 1)
          claimed[#claimed + 1] = { id, attempt, lease, string.format('%.6f', now), host }
        else -- expired, or a dead letter that is retried: its end makes it due again
          redis.call('ZREM', webhooks, id)
        end
      end
      reschedule_host(host)
    end
  end
  return claimed
end

-- Record an attempt: {job_id, host, lease, sent, retry_in}; without `retry_in` it was the last, and `sent` says whether the
-- receiver took it. Does nothing if the webhook was rescheduled in the meantime.
local function record_attempt(args)
  local call = cjson.decode(args[1])
  local webhooks = webhooks_of(call.host)
  local due = redis.call('ZSCORE', webhooks, call.job_id)
  if not due or tonumber(due) ~= tonumber(call.lease) then return end
  if call.retry_in then
    redis.call('ZADD', webhooks, now + call.retry_in, call.job_id)
  else
    redis.call('ZREM', webhooks, call.job_id)
  end
  reschedule_host(call.host)
  local job = 'asynchronous:job:' .. call.job_id
  local status = redis.call('HGET', job, 'status')
  if call.sent and (status == 'done' or status == 'failed') then redis.call('HSET', job, 'sent_at', now) end
end
