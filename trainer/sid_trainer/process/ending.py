"""How a training process ends, with its work done or with a failure.

Rules this module keeps:

* The failure is written where the launcher reads it before the process ends.
* The process ends at once (``os._exit``). Destructors of process groups may wait for peers that are
  gone, and the whole gang with them; and a thread of gloo that has finished a collective gives its
  tensors back under the interpreter's lock, which before Python 3.14 a process that is being torn
  down ends the thread for: in a destructor of C++, and so by SIGABRT, whatever the run's result.
* A known failure is one message; an unknown one keeps its traceback.
* Whatever cannot be written, the code says what it can.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import NoReturn

from sid_trainer.contract import EXIT_CODE_OF, FailureReason
from sid_trainer.process.failures import failure_of
from sid_trainer.process.run_directory import RunDirectory

UNWRITTEN = 120
"""Exit code of a process that did its work and could not write all of its output: Python's own."""

logger = logging.getLogger(__name__)


def end_process(error: BaseException, rank: int, directory: RunDirectory | None) -> NoReturn:
    """Tell the failure and end the process with the code of its cause; from any thread."""
    failure = failure_of(error, rank)
    unknown = failure.reason is FailureReason.UNKNOWN
    logger.error(
        "%s: %s", failure.reason.value, failure.message, exc_info=error if unknown else None
    )
    if directory is not None:
        try:
            directory.write_failure(rank, failure)
        except OSError as unwritten:
            logger.error("the launcher hears the code of this alone: %s", unwritten)
    end_with(EXIT_CODE_OF[failure.reason])


def end_with(code: int) -> NoReturn:
    """End the process with this exit code, once all that it said is written; from any thread."""
    try:
        logging.shutdown()
        for stream in (sys.stdout, sys.stderr):
            if stream is not None and not stream.closed:
                stream.flush()
    except OSError:  # nobody reads it any more, or the disk is full
        code = code or UNWRITTEN
    finally:
        os._exit(code)
