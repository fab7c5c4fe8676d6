"""The names of the files in an output folder."""

import re

MANIFEST, PROGRESS, TRIAL = "_manifest.json", "_progress.json", "_trial.json"
FAILED_CHUNKS, DEFERRED = "_failed.json", "_deferred.json"
SUCCESS, LOCK = "_SUCCESS", "_lock"
STATE_FILES = (MANIFEST, PROGRESS, FAILED_CHUNKS, DEFERRED, SUCCESS)
"""Written under the lock, which a trial does not take."""
PARTS = "part-*.parquet"
"""Spark and Dask name their parts so, too."""
_TEMPORARY = re.compile(rf"\.(part-[0-9a-f]{{12}}-\d{{4,}}\.parquet|{'|'.join(map(re.escape, STATE_FILES))})\.\d+")


def is_temporary(name: str) -> bool:
    """Whether a job that was killed may have left this file; Spark's checksums, `.part-….parquet.crc`, are not ours."""
    return _TEMPORARY.fullmatch(name) is not None
