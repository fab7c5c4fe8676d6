-- The queue's transactions. Redis runs each operation as one step: completely or not at all, even if it is killed.
--
-- queue.py registers one script per operation: this file and a last line that calls it. An operation takes one JSON
-- object. It may run twice, since a client whose connection breaks sends it again. Where that would count twice, the
-- caller passes a `call_id`, which is stored with the job. Operations that free memory also run when memory is full.
--
-- Keys (all begin with "asynchronous:"):
--   job:ID           hash     the job: status, payload, attempts, prediction or error, …; expires
--   jobs             stream   jobs to do: {job_id, ordering_key}; consumer group "predictors"
--   open             zset     jobs that have not ended, by expiry time; enforces MAX_QUEUED_JOBS
--   order:KEY        list     jobs that share an ordering key; only the head may be in the stream
--   idempotency:KEY  hash     {job_id, digest}; lasts as long as its job
--   delayed          zset     failed jobs ("ID ORDERING_KEY"), by the time of their next attempt
--   dead-letters     stream   jobs that were given up: {job_id, attempts, error, payload}
--   finished         stream   jobs that have ended, for the delivery: {job_id}
--   webhooks:HOST    zset     ended jobs with a callback URL at this host, by due time (see delivery/outbox.lua)
--   predictors       zset     predictors, by the time of their latest sign of life; expires
--   receivers        zset     the hosts of webhooks, by the due time of the first
--   events           channel  lines "ID STATUS"
--
-- It uses what Redis 7.0, Redis 8 and Valkey 9 have in common. Redis Cluster is out: the scripts compute key names.

local function key(...)
  return table.concat({ 'asynchronous', ... }, ':')
end

-- Redis's clock decides. The clocks of the hosts decide nothing. It stands still while a script runs.
local time = redis.call('TIME')
local now = time[1] + time[2] / 1e6

local function first_stream_id(seconds)
  return string.format('%d', seconds * 1000)
end

-- The values of these fields of a job; '' for a missing one.
local function fields(id, ...)
  local values = redis.call('HMGET', key('job', id), ...)
  for i = 1, #values do values[i] = values[i] or '' end
  return unpack(values)
end

local changes = {}

-- Sets a job's status, and other fields in the same command; waiting clients are notified.
local function set_status(id, status, ...)
  redis.call('HSET', key('job', id), 'status', status, ...)
  changes[#changes + 1] = id .. ' ' .. status
end

local function publish_changes()
  if #changes > 0 then redis.call('PUBLISH', key('events'), table.concat(changes, '\n')) end
end

-- Open jobs -----------------------------------------------------------------------------------------------------------

-- A job that has expired no longer counts, even if it never ended.
local function count_open_jobs()
  redis.call('ZREMRANGEBYSCORE', key('open'), '-inf', now)
  return redis.call('ZCARD', key('open'))
end

-- The ordering list and the Idempotency-Key must last as long as the job. Without them a second job of the same
-- ordering key would start beside it, or the same request would become a second job.
local function keep_open(id, ttl)
  redis.call('EXPIRE', key('job', id), ttl)
  redis.call('ZADD', key('open'), now + ttl, id)
  local ordering_key, idempotency_key = fields(id, 'ordering_key', 'idempotency_key')
  if ordering_key ~= '' then redis.call('EXPIRE', key('order', ordering_key), ttl) end
  if idempotency_key ~= '' then redis.call('EXPIRE', key('idempotency', idempotency_key), ttl) end
end

-- The stream, and the order of jobs with the same ordering key --------------------------------------------------------

local function add_to_stream(id, ordering_key)
  local entry = redis.call('XADD', key('jobs'), '*', 'job_id', id, 'ordering_key', ordering_key)
  redis.call('HSET', key('job', id), 'entry', entry)
end

local function acknowledge(entry)
  redis.call('XACK', key('jobs'), 'predictors', entry)
  redis.call('XDEL', key('jobs'), entry)
end

local function enqueue(id, ordering_key)
  if ordering_key ~= '' and redis.call('RPUSH', key('order', ordering_key), id) > 1 then return end
  add_to_stream(id, ordering_key)
end

-- A job that has ended leaves its list and puts the next one into the stream, in the same step.
local function release_next_in_order(id, ordering_key)
  if ordering_key == '' then return end
  local list = key('order', ordering_key)
  local was_head = redis.call('LINDEX', list, 0) == id
  redis.call('LREM', list, 1, id)
  if not was_head then return end -- cancelled while it waited
  local head = redis.call('LINDEX', list, 0)
  while head and redis.call('EXISTS', key('job', head)) == 0 do -- expired while it waited
    redis.call('LPOP', list)
    head = redis.call('LINDEX', list, 0)
  end
  if head then add_to_stream(head, ordering_key) end
end

-- Predictors ----------------------------------------------------------------------------------------------------------

-- A predictor asks for jobs twice a second, or renews its leases. The group's consumers do not show which of them runs:
-- Redis 7.0 has none for a predictor that got no job yet, and at its start Redis makes all of them look active.
local function note_sign_of_life(predictor)
  local predictors = key('predictors')
  local latest = redis.call('ZSCORE', predictors, predictor)
  if latest and now - latest < 1 then return end -- Redis writes each change to its disk
  redis.call('ZADD', predictors, now, predictor)
  redis.call('ZREMRANGEBYSCORE', predictors, '-inf', now - 60)
  redis.call('EXPIRE', predictors, 60)
end

-- Submit: {job_id, ordering_key, idempotency_key, digest, callback_url, traceparent, max_open_jobs, job_ttl}, payload
-- Stores a job and enqueues it. Returns its id, or the id of the job that has this Idempotency-Key, or 'full', or
-- 'conflict' (the key came with another digest).

local function submit(args)
  local job, payload = cjson.decode(args[1]), args[2]
  if redis.call('EXISTS', key('job', job.job_id)) == 1 then return job.job_id end -- sent again
  local idempotency = key('idempotency', job.idempotency_key)
  if job.idempotency_key ~= '' then
    local earlier = redis.call('HMGET', idempotency, 'job_id', 'digest')
    if earlier[1] then return earlier[2] == job.digest and earlier[1] or 'conflict' end
  end
  if count_open_jobs() >= job.max_open_jobs then return 'full' end

  redis.call('HSET', key('job', job.job_id), 'status', 'queued', 'attempts', 0, 'entry', '', 'submitted_at', now,
             'payload', payload, 'ordering_key', job.ordering_key, 'idempotency_key', job.idempotency_key,
             'callback_url', job.callback_url, 'traceparent', job.traceparent)
  if job.idempotency_key ~= '' then
    redis.call('HSET', idempotency, 'job_id', job.job_id, 'digest', job.digest)
  end
  enqueue(job.job_id, job.ordering_key)
  keep_open(job.job_id, job.job_ttl)
  return job.job_id
end

-- Start: {entries: [{entry, job_id, ordering_key}], job_ttl, call_id} -------------------------------------------------
-- A predictor has read these entries (XREADGROUP) or claimed them (XAUTOCLAIM). Returns those to do, each as
-- {entry, job id, attempts, payload, traceparent}; removes entries of jobs that were cancelled or have expired.

local function start_jobs(args)
  local call, started = cjson.decode(args[1]), {}
  for _, read in ipairs(call.entries) do
    local id, job = read.job_id, key('job', read.job_id)
    local entry, call_id = fields(id, 'entry', 'call_id')
    if entry == read.entry then
      if call_id ~= call.call_id then
        set_status(id, 'running', 'started_at', now, 'call_id', call.call_id)
        redis.call('HINCRBY', job, 'attempts', 1)
        keep_open(id, call.job_ttl)
      end
      started[#started + 1] = { read.entry, id, unpack(redis.call('HMGET', job, 'attempts', 'payload', 'traceparent')) }
    else
      acknowledge(read.entry)
      if redis.call('EXISTS', job) == 0 then release_next_in_order(id, read.ordering_key) end
    end
  end
  publish_changes()
  return started
end

-- Renew leases: {consumer, entries} -----------------------------------------------------------------------------------
-- A pending entry is a lease, and its idle time is the lease's age. Returns the entries that the consumer has lost.

local function holds(consumer, entry)
  local pending = redis.call('XPENDING', key('jobs'), 'predictors', entry, entry, 1)[1]
  return pending ~= nil and pending[2] == consumer
end

local function renew_leases(args)
  local call, lost = cjson.decode(args[1]), {}
  note_sign_of_life(call.consumer)
  for _, entry in ipairs(call.entries) do
    if holds(call.consumer, entry) then
      redis.call('XCLAIM', key('jobs'), 'predictors', call.consumer, 0, entry, 'JUSTID')
    else
      lost[#lost + 1] = entry
    end
  end
  return lost
end

-- Complete: {consumer, outcomes: [{entry, job_id, attempts, kind, content, retry_in}], job_ttl, result_ttl} -----------
-- `kind` is 'done' (content: the prediction), 'retry' or 'dead' (content: the error). Returns the entries that the
-- consumer still held; the outcome of a lost lease changes nothing: another predictor has the job, or has ended it.

local function end_job(id, status, ttl, ...)
  local ordering_key, idempotency_key, callback_url = fields(id, 'ordering_key', 'idempotency_key', 'callback_url')
  set_status(id, status, 'entry', '', 'finished_at', now, ...)
  redis.call('HDEL', key('job', id), 'payload')
  redis.call('EXPIRE', key('job', id), ttl)
  redis.call('ZREM', key('open'), id)
  release_next_in_order(id, ordering_key)
  if idempotency_key ~= '' then redis.call('EXPIRE', key('idempotency', idempotency_key), ttl) end
  if callback_url ~= '' then
    local host = string.match(callback_url, '^%a+://([^/?#]+)')
    local webhooks = key('webhooks', host)
    redis.call('ZREMRANGEBYSCORE', webhooks, '-inf', now - ttl) -- expired, if no delivery runs
    redis.call('ZADD', webhooks, now, id)
    redis.call('EXPIRE', webhooks, ttl)
    redis.call('ZADD', key('receivers'), 'LT', now, host)
    redis.call('EXPIRE', key('receivers'), ttl)
  end
  redis.call('XADD', key('finished'), 'MINID', '~', first_stream_id(now - ttl), '*', 'job_id', id)
end

local function write_result(outcome, ttl)
  redis.call('HDEL', key('job', outcome.job_id), 'error') -- of an earlier attempt
  end_job(outcome.job_id, 'done', ttl, 'attempts', outcome.attempts, 'prediction', outcome.content)
end

local function delay_retry(outcome, ttl)
  local id = outcome.job_id
  set_status(id, 'queued', 'attempts', outcome.attempts, 'error', outcome.content, 'entry', '')
  redis.call('ZADD', key('delayed'), now + outcome.retry_in, id .. ' ' .. fields(id, 'ordering_key'))
  keep_open(id, ttl)
end

local function add_dead_letter(outcome, ttl)
  local id, letters = outcome.job_id, key('dead-letters')
  local entry = redis.call('XADD', letters, 'MAXLEN', '~', 10000, '*', 'job_id', id, 'attempts', outcome.attempts,
                           'error', outcome.content, 'payload', fields(id, 'payload'))
  redis.call('XTRIM', letters, 'MINID', '=', first_stream_id(now - ttl))
  redis.call('EXPIRE', letters, ttl)
  end_job(id, 'failed', ttl, 'attempts', outcome.attempts, 'error', outcome.content, 'dead_letter', entry)
end

local function complete_jobs(args)
  local call, completed = cjson.decode(args[1]), {}
  for _, outcome in ipairs(call.outcomes) do
    local id, entry = outcome.job_id, outcome.entry
    if holds(call.consumer, entry) then
      completed[#completed + 1] = entry
      local expired = redis.call('EXISTS', key('job', id)) == 0
      local read = expired and redis.call('XRANGE', key('jobs'), entry, entry)[1][2]
      acknowledge(entry)
      if expired then
        release_next_in_order(id, read[4]) -- its ordering key
      elseif outcome.kind == 'done' then
        write_result(outcome, call.result_ttl)
      elseif outcome.kind == 'retry' then
        delay_retry(outcome, call.job_ttl)
      else
        add_dead_letter(outcome, call.job_ttl)
      end
    end
  end
  publish_changes()
  return completed
end

-- Enqueue due retries: {consumer} -------------------------------------------------------------------------------------
-- Puts the failed jobs whose next attempt is due back into the stream. Returns the number of open jobs.

local function enqueue_due_retries(args)
  note_sign_of_life(cjson.decode(args[1]).consumer)
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', key('delayed'), '-inf', now, 'LIMIT', 0, 1000)) do
    local id, ordering_key = string.match(member, '^(%S+) (.*)$')
    redis.call('ZREM', key('delayed'), member)
    if redis.call('EXISTS', key('job', id)) == 1 then
      add_to_stream(id, ordering_key)
    else
      release_next_in_order(id, ordering_key) -- expired while it waited
    end
  end
  return count_open_jobs()
end

-- Cancel: {job_id, error, result_ttl, call_id} ------------------------------------------------------------------------
-- Ends a job that has not started. Returns 'cancelled', or the status of a job that has started, or nil.

local function cancel(args)
  local call = cjson.decode(args[1])
  local id = call.job_id
  local status, call_id, entry, ordering_key = fields(id, 'status', 'call_id', 'entry', 'ordering_key')
  if call_id == call.call_id then return 'cancelled' end
  if status == '' then return nil end
  if status ~= 'queued' then return status end
  if entry ~= '' then acknowledge(entry) end
  redis.call('ZREM', key('delayed'), id .. ' ' .. ordering_key)
  end_job(id, 'failed', call.result_ttl, 'error', call.error, 'call_id', call.call_id)
  publish_changes()
  return 'cancelled'
end

-- Dead letters --------------------------------------------------------------------------------------------------------

-- List: {count, job_ttl}. Returns the newest entries first. The job of an older entry has expired.
local function list_dead_letters(args)
  local call = cjson.decode(args[1])
  return redis.call('XREVRANGE', key('dead-letters'), '+', first_stream_id(now - call.job_ttl), 'COUNT', call.count)
end

-- Retry: {job_id, job_ttl, call_id}. Enqueues the job again, behind the others, with no attempt made. Returns its id,
-- or nil if it is not a dead letter.
local function retry_dead_letter(args)
  local call = cjson.decode(args[1])
  local id, letters = call.job_id, key('dead-letters')
  local call_id, entry, ordering_key = fields(id, 'call_id', 'dead_letter', 'ordering_key')
  if call_id == call.call_id then return id end
  local letter = entry ~= '' and redis.call('XRANGE', letters, entry, entry)[1]
  if not letter then return nil end
  redis.call('XDEL', letters, letter[1])
  set_status(id, 'queued', 'attempts', 0, 'payload', letter[2][8], 'call_id', call.call_id)
  redis.call('HDEL', key('job', id), 'error', 'dead_letter', 'started_at', 'finished_at', 'delivery_attempts',
             'stored_at', 'sent_at')
  enqueue(id, ordering_key)
  keep_open(id, call.job_ttl)
  publish_changes()
  return id
end
