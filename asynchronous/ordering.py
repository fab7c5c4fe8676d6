"""Order, for those who need it: jobs with the same `ordering_key` are done one after another, as they came in.

Each key has a line of its jobs, and only the head of the line is in the stream: so whoever reads the stream, and
however many do, nobody can begin a job before the one in front of it has ended. What ends (done, dead or called off)
leaves the line and puts the next into the stream, in the same step. Jobs without a key go straight into the stream.

The price: a key's jobs are never in one batch, and between two of them lies a way to Redis and back
(benchmarks/README.md). These functions are part of the broker's scripts.
"""

LINES = """
local function join_line(id, ordering)
  if ordering ~= '' and redis.call('RPUSH', key('order', ordering), id) > 1 then return end
  put_in_stream(id, ordering)
end

local function leave_line(id, ordering)
  if ordering == '' then return end
  local line = key('order', ordering)
  local was_head = redis.call('LINDEX', line, 0) == id
  redis.call('LREM', line, 1, id)
  if not was_head then return end  -- called off while it waited in the line
  local head = redis.call('LINDEX', line, 0)
  while head and redis.call('EXISTS', key('job', head)) == 0 do  -- waited for so long that it has expired
    redis.call('LPOP', line)
    head = redis.call('LINDEX', line, 0)
  end
  if head then put_in_stream(head, ordering) end
end
"""
