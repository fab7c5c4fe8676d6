"""The broker's transactions, in Lua: Redis runs each as one step, whole or not at all, also when it is killed.

They use what Redis 7.0 and 8 and Valkey 9 have in common. All but those that take something in run although memory is
full (`allow-oom`): they are what frees it. `status` is told on a channel, to whoever waits for a job.
"""

from asynchronous.ordering import LINES

_COMMON = """
local function key(...) return table.concat({'asynchronous', ...}, ':') end
local function field(id, name) return redis.call('HGET', key('job', id), name) or '' end

local told = {}
local function tell(id, status) told[#told + 1] = id .. ' ' .. status end
local function told_all() if #told > 0 then redis.call('PUBLISH', key('events'), table.concat(told, '\\n')) end end

-- The open jobs, each until it expires: what is gone is counted no more, whatever became of it.
local function count_open(now)
  redis.call('ZREMRANGEBYSCORE', key('open'), '-inf', now)
  return redis.call('ZCARD', key('open'))
end

local function keep_open(id, now, ttl)
  redis.call('EXPIRE', key('job', id), ttl)
  redis.call('ZADD', key('open'), now + ttl, id)
end

local function put_in_stream(id, ordering)
  local entry = redis.call('XADD', key('jobs'), '*', 'job_id', id, 'ordering_key', ordering)
  redis.call('HSET', key('job', id), 'entry', entry)
end

local function leave_stream(entry)
  redis.call('XACK', key('jobs'), 'predictors', entry)
  redis.call('XDEL', key('jobs'), entry)
end

local function is_held(entry, consumer)
  local pending = redis.call('XPENDING', key('jobs'), 'predictors', entry, entry, 1)[1]
  return pending ~= nil and pending[2] == consumer
end
"""

_ENDED = """
local function ended(id, status, now, ttl)
  redis.call('HSET', key('job', id), 'status', status, 'entry', '', 'finished_at', now)
  redis.call('EXPIRE', key('job', id), ttl)
  redis.call('ZREM', key('open'), id)
  local found = redis.call('HMGET', key('job', id), 'ordering_key', 'idempotency_key', 'callback_url')
  leave_line(id, found[1])
  if found[2] ~= '' then redis.call('EXPIRE', key('idempotency', found[2]), ttl) end
  if found[3] ~= '' then redis.call('ZADD', key('webhooks'), now, id) end
  local oldest = string.format('%d', (now - ttl) * 1000)
  redis.call('XADD', key('finished'), 'MINID', '~', oldest, '*', 'job_id', id)
  tell(id, status)
end
"""

_TAKING_IN = "#!lua\n" + _COMMON + LINES
_FREEING = "#!lua flags=allow-oom\n" + _COMMON + LINES + _ENDED

SUBMIT = (
    _TAKING_IN
    + """
-- ARGV: id, time, most open jobs, digest, idempotency key, ttl, ordering key, then the job's fields and values
local id, now, most, digest, idempotency, ttl, ordering = unpack(ARGV, 1, 7)
if redis.call('EXISTS', key('job', id)) == 1 then return id end  -- sent again after a broken connection
if idempotency ~= '' then
  local seen = redis.call('HMGET', key('idempotency', idempotency), 'job_id', 'digest')
  if seen[1] then return seen[2] == digest and seen[1] or 'conflict' end
end
if count_open(now) >= tonumber(most) then return 'full' end
redis.call('HSET', key('job', id), 'status', 'queued', 'attempts', 0, 'entry', '', 'ordering_key', ordering,
           'idempotency_key', idempotency, unpack(ARGV, 8))
keep_open(id, now, ttl)
if idempotency ~= '' then
  redis.call('HSET', key('idempotency', idempotency), 'job_id', id, 'digest', digest)
  redis.call('EXPIRE', key('idempotency', idempotency), ttl)
end
join_line(id, ordering, ttl)
return id
"""
)

CANCEL = (
    _FREEING
    + """
-- ARGV: id, error, time, ttl
local id, error, now, ttl = unpack(ARGV)
local status = redis.call('HGET', key('job', id), 'status')
if status ~= 'queued' then return status end
local entry = field(id, 'entry')
if entry ~= '' then leave_stream(entry) end
redis.call('ZREM', key('delayed'), id)
redis.call('HSET', key('job', id), 'error', error)
redis.call('HDEL', key('job', id), 'payload')
ended(id, 'failed', now, ttl)
told_all()
return 'cancelled'
"""
)

BEGIN = (
    _FREEING
    + """
-- ARGV: time, ttl, then of each entry: itself, its job, its ordering key
local now, ttl, begun = ARGV[1], ARGV[2], {}
for i = 3, #ARGV, 3 do
  local entry, id, ordering = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  if field(id, 'entry') == entry then
    redis.call('HSET', key('job', id), 'status', 'running', 'started_at', now)
    keep_open(id, now, ttl)
    local attempts = redis.call('HINCRBY', key('job', id), 'attempts', 1)
    begun[#begun + 1] = {entry, id, attempts, unpack(redis.call('HMGET', key('job', id), 'payload', 'traceparent'))}
    tell(id, 'running')
  else
    leave_stream(entry)
    if redis.call('EXISTS', key('job', id)) == 0 then leave_line(id, ordering) end  -- it waited too long, and expired
  end
end
told_all()
return begun
"""
)

RENEW = (
    _FREEING
    + """
-- ARGV: consumer, then entries. Gives those that it holds no more.
local lost = {}
for i = 2, #ARGV do
  if is_held(ARGV[i], ARGV[1]) then
    redis.call('XCLAIM', key('jobs'), 'predictors', ARGV[1], 0, ARGV[i], 'JUSTID')
  else
    lost[#lost + 1] = ARGV[i]
  end
end
return lost
"""
)

SETTLE = (
    _FREEING
    + """
-- ARGV: consumer, time, ttl of a result, ttl of a job, then of each outcome: entry, job, attempts, done|dead|retry,
-- its content, when to retry. Gives those entries that it held.
local consumer, now, ttl, job_ttl, settled = ARGV[1], ARGV[2], ARGV[3], ARGV[4], {}
for i = 5, #ARGV, 6 do
  local entry, id, attempts, kind, content, due = unpack(ARGV, i, i + 5)
  if is_held(entry, consumer) then  -- else another predictor has it, or has done it: what comes here is too late
    local expired = redis.call('EXISTS', key('job', id)) == 0
    local ordering = expired and redis.call('XRANGE', key('jobs'), entry, entry)[1][2][4]
    settled[#settled + 1] = entry
    leave_stream(entry)
    if expired then  -- it was worked on for too long: a result belongs to nobody any more
      leave_line(id, ordering)
    elseif kind == 'done' then
      redis.call('HSET', key('job', id), 'attempts', attempts, 'prediction', content)
      redis.call('HDEL', key('job', id), 'payload', 'error')
      ended(id, 'done', now, ttl)
    elseif kind == 'retry' then
      redis.call('HSET', key('job', id), 'attempts', attempts, 'error', content, 'status', 'queued', 'entry', '')
      keep_open(id, now, job_ttl)
      redis.call('ZADD', key('delayed'), due, id)
      tell(id, 'queued')
    else
      local letter = redis.call('XADD', key('dead-letters'), 'MAXLEN', '~', 10000, '*', 'job_id', id,
                                'attempts', attempts, 'error', content, 'payload', field(id, 'payload'))
      redis.call('HSET', key('job', id), 'attempts', attempts, 'error', content, 'dead_letter', letter)
      redis.call('HDEL', key('job', id), 'payload')
      ended(id, 'failed', now, job_ttl)
    end
  end
end
told_all()
return settled
"""
)

RELEASE = (
    _FREEING
    + """
-- ARGV: time. What was to be retried by now goes back into the stream. Gives the number of jobs that have not ended.
for _, id in ipairs(redis.call('ZRANGEBYSCORE', key('delayed'), '-inf', ARGV[1], 'LIMIT', 0, 1000)) do
  redis.call('ZREM', key('delayed'), id)
  if redis.call('EXISTS', key('job', id)) == 1 then put_in_stream(id, field(id, 'ordering_key')) end
end
return count_open(ARGV[1])
"""
)

REVIVE = (
    _TAKING_IN
    + """
-- ARGV: id, time, ttl. A dead letter's job is queued again, behind the others, with no attempt made.
local id, now, ttl = unpack(ARGV)
local place = field(id, 'dead_letter')
local letter = place ~= '' and redis.call('XRANGE', key('dead-letters'), place, place)[1]
if not letter then return nil end
redis.call('XDEL', key('dead-letters'), letter[1])
redis.call('HSET', key('job', id), 'status', 'queued', 'attempts', 0, 'payload', letter[2][8])
redis.call('HDEL', key('job', id), 'error', 'dead_letter', 'started_at', 'finished_at', 'delivery_attempts')
keep_open(id, now, ttl)
join_line(id, field(id, 'ordering_key'), ttl)
tell(id, 'queued')
told_all()
return id
"""
)

FORGET = (
    _FREEING
    + """
-- ARGV: milliseconds. Predictors that hold nothing and have been silent for so long are no more.
for _, consumer in ipairs(redis.call('XINFO', 'CONSUMERS', key('jobs'), 'predictors')) do
  local facts = {}
  for i = 1, #consumer, 2 do facts[consumer[i]] = consumer[i + 1] end
  if facts.pending == 0 and facts.idle > tonumber(ARGV[1]) then
    redis.call('XGROUP', 'DELCONSUMER', key('jobs'), 'predictors', facts.name)
  end
end
"""
)
