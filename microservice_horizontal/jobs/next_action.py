"""The next action: what starts as soon as the chosen member has answered, while the others still work.

In the sorting office a tray is called in for the letter. Put your own action here. It may begin more than once for
one job, if a post-processor is killed meanwhile or several of them run. So it must be safe to repeat: the job's id
identifies it. If it raises, it is tried
again every other second. Until it succeeds, the job stays open, at the latest until its deadline.
"""

import logging
from collections.abc import Awaitable, Callable

from common.domain import Output as Digit

logger = logging.getLogger(__name__)

NextAction = Callable[[str, Digit], Awaitable[str]]
"""Takes a job's id and the digit; returns what was done, for the job's record."""


async def begin_next_action(job_id: str, digit: Digit) -> str:
    """Call in the tray. Returns what was done, for the job's record."""
    logger.info("job %s: tray %d is called in", job_id, digit.digit)
    return f"tray {digit.digit} is called in"
