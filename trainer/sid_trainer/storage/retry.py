"""When a request to a store is tried again, and for how long.

Rules this module keeps:

* Only what may pass by itself is retried: no answer, 5xx, throttling, bytes damaged on the way. A
  refusal is final at once.
* What is repeated can do no harm: who asks sees to it that a request is idempotent, or that it
  recognises what its first try has done though the answer was lost.
* Patience is bounded in time, so that an endpoint that is not there is told within half a minute.
  What gets on, if only in pieces, is not out of patience.
* Pauses are random, so that the ranks of a run do not come back all at once.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

logger = logging.getLogger(__name__)
Result = TypeVar("Result")


class TransientError(Exception):
    """Wraps an error of the store that may pass by itself.

    Args:
        message: what happened.
        remedy: what to do if it does not pass.
        server: who did not answer, if not the store itself.
    """

    def __init__(self, message: str, remedy: str = "", server: str = "") -> None:
        super().__init__(message)
        self.remedy, self.server = remedy, server


@dataclass(frozen=True)
class Patience:
    """How long a store that does not answer is asked again.

    Attributes:
        seconds: Time from the first failure after which the operation is given up. 20 s bridges a
            restart of a MinIO pod and still leaves the user a message within a minute.
        first_delay: Mean of the first pause in seconds; each further one is twice as long.
        longest_delay: Mean of the longest pause in seconds.
    """

    seconds: float = 20.0
    first_delay: float = 0.25
    longest_delay: float = 4.0

    def delay(self, failures: int, rng: Callable[[], float] = random.random) -> float:
        """Pause after the given number of failures: doubled each time, half of it random."""
        mean = min(self.longest_delay, self.first_delay * 2.0 ** min(failures - 1, 16))
        return mean * (0.5 + rng())


LONG_PATIENCE = Patience(seconds=120.0, longest_delay=10.0)
"""For checkpoints and students: much work is in them."""


def patiently(
    operation: Callable[[], Result],
    patience: Patience,
    what: str,
    got_on: Callable[[], int] = lambda: 0,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Result:
    """Run ``operation``, again while it raises :class:`TransientError` and patience lasts.

    Args:
        operation: what to do.
        patience: how long.
        what: names it in the log.
        got_on: how far it is; patience begins anew where a try has got further.
        clock: seconds.
        sleep: pauses.

    Raises:
        TransientError: the last one, when patience has run out.
    """
    failures, deadline, reached = 0, None, got_on()
    while True:
        try:
            return operation()
        except TransientError as error:
            now = clock()
            if got_on() != reached:
                failures, deadline, reached = 0, None, got_on()
            failures += 1
            deadline = now + patience.seconds if deadline is None else deadline
            pause = patience.delay(failures)
            if now + pause > deadline:
                raise
            logger.warning("%s: %s; trying again in %.1f s", what, error, pause)
            sleep(pause)
