"""The broker's transactions, in Lua: Redis runs each as one step, whole or not at all, also when it is killed.

They use what Redis 7.0 and 8 and Valkey 9 have in common. All but those that take something in run although memory is
full (`allow-oom`): they are what frees it. `status` is told on a channel, to whoever waits for a job. `call` names one
call of a script: where the connection broke before the answer came, it is sent again, and must not count twice.
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

-- Its line and its Idempotency-Key last as long as it does: else another would begin beside it, or be it once more.
local function keep_open(id, now, ttl)
  redis.call('EXPIRE', key('job', id), ttl)
  redis.call('ZADD', key('open'), now + ttl, id)
  local found = redis.call('HMGET', key('job', id), 'ordering_key', 'idempotency_key')
  if found[1] ~= '' then redis.call('EXPIRE', key('order', found[1]), ttl) end
  if found[2] ~= '' then redis.call('EXPIRE', key('idempotency', found[2]), ttl) end
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
  if found[3] ~= '' then
    redis.call('ZREMRANGEBYSCORE', key('webhooks'), '-inf', now - ttl)  -- nobody delivers, and they have expired
    redis.call('ZADD', key('webhooks'), now, id)
  end
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
if idempotency ~= '' then redis.call('HSET', key('idempotency', idempotency), 'job_id', id, 'digest', digest) end
join_line(id, ordering)
keep_open(id, now, ttl)
return id
"""
)

CANCEL = (
    _FREEING
    + """
-- ARGV: id, error, time, ttl, call
local id, error, now, ttl, call = unpack(ARGV)
if field(id, 'call') == call then return 'cancelled' end
local status = redis.call('HGET', key('job', id), 'status')
if status ~= 'queued' then return status end
local entry = field(id, 'entry')
if entry ~= '' then leave_stream(entry) end
redis.call('ZREM', key('delayed'), id .. ' ' .. field(id, 'ordering_key'))
redis.call('HSET', key('job', id), 'error', error, 'call', call)
redis.call('HDEL', key('job', id), 'payload')
ended(id, 'failed', now, ttl)
told_all()
return 'cancelled'
"""
)

BEGIN = (
    _FREEING
    + """
-- ARGV: time, ttl, call, then of each entry: itself, its job, its ordering key
local now, ttl, call, begun = ARGV[1], ARGV[2], ARGV[3], {}
for i = 4, #ARGV, 3 do
  local entry, id, ordering = unpack(ARGV, i, i + 2)
  if field(id, 'entry') == entry then
    if field(id, 'call') ~= call then
      redis.call('HSET', key('job', id), 'status', 'running', 'started_at', now, 'call', call)
      redis.call('HINCRBY', key('job', id), 'attempts', 1)
      keep_open(id, now, ttl)
      tell(id, 'running')
    end
    begun[#begun + 1] = {entry, id, unpack(redis.call('HMGET', key('job', id), 'attempts', 'payload', 'traceparent'))}
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
      redis.call('ZADD', key('delayed'), due, id .. ' ' .. field(id, 'ordering_key'))
      tell(id, 'queued')
    else
      local letter = redis.call('XADD', key('dead-letters'), 'MAXLEN', '~', 10000, '*', 'job_id', id,
                                'attempts', attempts, 'error', content, 'payload', field(id, 'payload'))
      redis.call('XTRIM', key('dead-letters'), 'MINID', '=', string.format('%d', (now - job_ttl) * 1000))
      redis.call('EXPIRE', key('dead-letters'), job_ttl)
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
for _, due in ipairs(redis.call('ZRANGEBYSCORE', key('delayed'), '-inf', ARGV[1], 'LIMIT', 0, 1000)) do
  local id, ordering = string.match(due, '^(%S+) (.*)$')
  redis.call('ZREM', key('delayed'), due)
  if redis.call('EXISTS', key('job', id)) == 1 then
    put_in_stream(id, ordering)
  else
    leave_line(id, ordering)  -- it waited too long, and expired
  end
end
return count_open(ARGV[1])
"""
)

REVIVE = (
    _TAKING_IN
    + """
-- ARGV: id, time, ttl, call. A dead letter's job is queued again, behind the others, with no attempt made.
local id, now, ttl, call = unpack(ARGV)
if field(id, 'call') == call then return id end
local place = field(id, 'dead_letter')
local letter = place ~= '' and redis.call('XRANGE', key('dead-letters'), place, place)[1]
if not letter then return nil end
redis.call('XDEL', key('dead-letters'), letter[1])
redis.call('HSET', key('job', id), 'status', 'queued', 'attempts', 0, 'payload', letter[2][8], 'call', call)
redis.call('HDEL', key('job', id), 'error', 'dead_letter', 'started_at', 'finished_at', 'delivery_attempts')
join_line(id, field(id, 'ordering_key'))
keep_open(id, now, ttl)
tell(id, 'queued')
told_all()
return id
"""
)
