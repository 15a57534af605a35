"""How a training process ends that cannot go on.

Rules this module keeps:

* The failure is written where the launcher reads it before the process ends.
* The process ends at once (``os._exit``): destructors of process groups may wait for peers that are
  gone, and the whole gang with them.
* A known failure is one message; an unknown one keeps its traceback.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import NoReturn

from sid_trainer.contract import EXIT_CODE_OF, FailureReason
from sid_trainer.process.failures import failure_of
from sid_trainer.process.run_directory import RunDirectory

logger = logging.getLogger(__name__)


def end_process(error: BaseException, rank: int, directory: RunDirectory | None) -> NoReturn:
    """Tell the failure and end the process with the code of its cause; from any thread."""
    failure = failure_of(error, rank)
    unknown = failure.reason is FailureReason.UNKNOWN
    logger.error(
        "%s: %s", failure.reason.value, failure.message, exc_info=error if unknown else None
    )
    if directory is not None:
        directory.write_failure(rank, failure)
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(EXIT_CODE_OF[failure.reason])
