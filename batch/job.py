"""The job: reads a data set, predicts it chunk by chunk and writes the results. The model is loaded only while it runs.

`python -m batch.job run --input DIR --output DIR`. It may be killed at any moment; the next job on the same output
processes the chunks that are missing. Imports take longer than a small run, so its processes make theirs meanwhile.
"""

import sys
from pathlib import Path

from batch.command_line import DONE, FAILED, parse_arguments
from batch.engines import fork_server


def main() -> int:
    """The command line; returns the exit code."""
    options = parse_arguments(sys.argv[1:])
    if isinstance(options, Path):
        from batch.output.verify import report_differences

        return DONE if report_differences(options) else FAILED
    if options.engine == "local":
        fork_server.start()
    from batch.attempt import attempt

    return attempt(options)


if __name__ == "__main__":
    sys.exit(main())
