-- The transactions of jobs. Redis runs each operation as one step: completely or not at all, even if it is killed.
--
-- stream.py registers one script per operation: this file and a last line that calls it. An operation takes one JSON
-- object. Each may run twice, since a client whose connection breaks sends it again. Operations that free memory also
-- run when memory is full.
--
-- Keys (all begin with "microservice_horizontal:"):
--   job:ID     hash     the job: status, submitted_at, deadline, answer:MEMBER, early, prediction, missing, …; expires
--   jobs       stream   jobs to do: {job_id, payload, traceparent}; a consumer group for each member
--   answers    stream   answers to process: {job_id, member}; consumer group "post-processors"
--   deadlines  zset     open jobs by deadline; enforces MAX_OPEN_JOBS
--   events     channel  lines "ID MEMBER", "ID early", "ID closed"
--
-- It uses what Redis 7.0, Redis 8 and Valkey 9 have in common. Redis Cluster is out: the scripts compute key names.

local function key(...)
  return table.concat({ 'microservice_horizontal', ... }, ':')
end

-- Redis's clock decides. The clocks of the hosts decide nothing.
local function now()
  local time = redis.call('TIME')
  return time[1] + time[2] / 1e6
end

-- The first stream entry that a job which has not expired can have.
local function first_entry(job_ttl)
  return string.format('%d', (now() - job_ttl) * 1000)
end

-- Submit: {job_id, traceparent, deadline_seconds, max_open_jobs, job_ttl}, payload ------------------------------------
-- Stores a job for all members. Returns 1, or 0 if `max_open_jobs` are open.

local function submit(args)
  local call, payload = cjson.decode(args[1]), args[2]
  local id, job = call.job_id, key('job', call.job_id)
  if redis.call('EXISTS', job) == 1 then return 1 end -- sent again
  if redis.call('ZCARD', key('deadlines')) >= call.max_open_jobs then return 0 end
  local entry = redis.call('XADD', key('jobs'), 'MINID', '=', first_entry(call.job_ttl), '*',
                           'job_id', id, 'payload', payload, 'traceparent', call.traceparent)
  local submitted_at = now()
  local deadline = submitted_at + call.deadline_seconds
  redis.call('HSET', job, 'status', 'running', 'submitted_at', submitted_at, 'deadline', deadline, 'entry', entry)
  redis.call('EXPIRE', job, call.job_ttl)
  redis.call('ZADD', key('deadlines'), deadline, id)
  return 1
end

-- Store answers: {member, answers: [{entry, job_id, content}], job_ttl} -----------------------------------------------
-- Stores a member's answers, acknowledges its entries, and notifies the post-processor. The first answer stays, so it
-- does no harm if a job is done twice.

local function store_answers(args)
  local call, changes = cjson.decode(args[1]), {}
  for _, answer in ipairs(call.answers) do
    local id, job = answer.job_id, key('job', answer.job_id)
    redis.call('XACK', key('jobs'), call.member, answer.entry)
    if redis.call('EXISTS', job) == 0 then -- expired before this member answered
      redis.call('XDEL', key('jobs'), answer.entry)
    elseif redis.call('HSETNX', job, 'answer:' .. call.member, answer.content) == 1 then
      redis.call('XADD', key('answers'), 'MINID', '~', first_entry(call.job_ttl), '*',
                 'job_id', id, 'member', call.member)
      changes[#changes + 1] = id .. ' ' .. call.member
    end
  end
  if #changes > 0 then redis.call('PUBLISH', key('events'), table.concat(changes, '\n')) end
end

-- Record the next action: {job_id, content} ---------------------------------------------------------------------------
-- A job that has expired in the meantime is not created again.

local function record_action(args)
  local call = cjson.decode(args[1])
  local job = key('job', call.job_id)
  if redis.call('EXISTS', job) == 1 and redis.call('HSETNX', job, 'early', call.content) == 1 then
    redis.call('PUBLISH', key('events'), call.job_id .. ' early')
  end
end

-- Close: {job_id, fields} ---------------------------------------------------------------------------------------------
-- Closes a job, once. Returns 1 if this call did.

local function close(args)
  local call = cjson.decode(args[1])
  local job = key('job', call.job_id)
  redis.call('ZREM', key('deadlines'), call.job_id)
  if redis.call('HGET', job, 'status') ~= 'running' then return 0 end
  redis.call('HSET', job, 'finished_at', now())
  for name, value in pairs(call.fields) do
    redis.call('HSET', job, name, value)
  end
  redis.call('PUBLISH', key('events'), call.job_id .. ' closed')
  return 1
end

-- Acknowledge: {answers, jobs} ----------------------------------------------------------------------------------------
-- These entries of answers are processed. No member needs these entries of jobs any longer.

local function acknowledge(args)
  local call = cjson.decode(args[1])
  for _, entry in ipairs(call.answers) do
    redis.call('XACK', key('answers'), 'post-processors', entry)
    redis.call('XDEL', key('answers'), entry)
  end
  for _, entry in ipairs(call.jobs) do
    redis.call('XDEL', key('jobs'), entry)
  end
end

-- On the clock --------------------------------------------------------------------------------------------------------

-- List: {count}. Returns the ids of open jobs whose deadline has passed.
local function list_overdue(args)
  local call = cjson.decode(args[1])
  return redis.call('ZRANGEBYSCORE', key('deadlines'), '-inf', now(), 'LIMIT', 0, call.count)
end

-- Remove: {job_ttl}. Removes the entries of jobs that have expired, even if a member has not read them.
local function remove_expired(args)
  local call = cjson.decode(args[1])
  redis.call('XTRIM', key('jobs'), 'MINID', '=', first_entry(call.job_ttl))
end
