"""What consumers of a Redis Stream need beside XREADGROUP: to create a group, claim idle entries, remove consumers."""

from collections.abc import Sequence
from typing import Any

from redis.asyncio import Redis

ENSURE_GROUP = """#!lua flags=allow-oom
-- KEYS: stream. ARGV: group. It also runs when memory is full, since reading the stream is what frees memory.
local made = redis.pcall('XGROUP', 'CREATE', KEYS[1], ARGV[1], '0', 'MKSTREAM')
if type(made) == 'table' and made.err and not string.find(made.err, 'BUSYGROUP') then return made end
"""

REMOVE_IDLE_CONSUMERS = """#!lua flags=allow-oom
-- KEYS: stream. ARGV: group, milliseconds.
for _, consumer in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
  local facts = {}
  for i = 1, #consumer, 2 do facts[consumer[i]] = consumer[i + 1] end
  if facts.pending == 0 and facts.idle > tonumber(ARGV[2]) then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], facts.name)
  end
end
"""

RENEW_LEASES = """#!lua flags=allow-oom
-- KEYS: stream. ARGV: group, consumer, then entries. Returns those that the consumer has lost.
local lost = {}
for i = 3, #ARGV do
  local pending = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[i], ARGV[i], 1)[1]
  if pending and pending[2] == ARGV[2] then
    redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, ARGV[i], 'JUSTID')
  else
    lost[#lost + 1] = ARGV[i]
  end
end
return lost
"""


async def ensure_group(redis: Redis, stream: str, group: str) -> None:
    """Create the stream and a consumer group that reads it from its beginning, unless they exist."""
    await redis.eval(ENSURE_GROUP, 1, stream, group)


async def claim_idle(redis: Redis, stream: str, group: str, consumer: str, idle_ms: int, count: int) -> list[Any]:
    """Up to `count` entries that have been idle with another consumer for so long, as pairs (entry id, fields).

    One XAUTOCLAIM examines at most ten times `count` entries, so it is repeated until all pending ones are examined.
    """
    cursor: Any = "0-0"
    while True:
        found: Any = await redis.xautoclaim(stream, group, consumer, idle_ms, start_id=cursor, count=count)
        cursor, entries = found[0], found[1]
        if entries or cursor == b"0-0":
            return list(entries)


async def renew_leases(redis: Redis, stream: str, group: str, consumer: str, entries: Sequence[bytes]) -> set[bytes]:
    """Set the idle time of these entries to zero. Returns the entries that the consumer no longer holds."""
    return set(await redis.eval(RENEW_LEASES, 1, stream, group, consumer, *entries))


async def remove_idle_consumers(redis: Redis, stream: str, group: str, idle_ms: int) -> None:
    """Remove consumers that hold nothing and have been idle for so long from the group.

    Each process is a consumer of its own: without this, the list would grow with every restart.
    """
    await redis.eval(REMOVE_IDLE_CONSUMERS, 1, stream, group, idle_ms)
