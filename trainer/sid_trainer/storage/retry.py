"""When a request to a store is tried again, and for how long.

Rules this module keeps:

* Only what may pass by itself is retried: no answer, 5xx, throttling. A refusal is final at once.
* The operations are idempotent as a whole, so a repeated one cannot do harm.
* Patience is bounded in time, so that an endpoint that is not there is told within half a minute.
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
    """Wraps an error of the store that may pass by itself."""


@dataclass(frozen=True)
class Patience:
    """How long a store that does not answer is asked again.

    Attributes:
        seconds: Time from the first failure after which the operation is given up. 20 s bridges a
            restart of a MinIO pod and still leaves the user a message within a minute.
        first_delay: Mean of the first pause in seconds; each further one is twice as long.
        longest_delay: Upper bound of a pause in seconds.
    """

    seconds: float = 20.0
    first_delay: float = 0.25
    longest_delay: float = 4.0

    def delay(self, failures: int, rng: Callable[[], float] = random.random) -> float:
        """Pause after the given number of failures: doubled each time, half of it random."""
        mean = min(self.longest_delay, self.first_delay * 2.0 ** (failures - 1))
        return mean * (0.5 + rng())


def patiently(
    operation: Callable[[], Result],
    patience: Patience,
    what: str,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Result:
    """Run ``operation``, again while it raises :class:`TransientError` and patience lasts.

    Raises:
        TransientError: the last one, when patience has run out.
    """
    failures, deadline = 0, None
    while True:
        try:
            return operation()
        except TransientError as error:
            failures += 1
            now = clock()
            deadline = now + patience.seconds if deadline is None else deadline
            pause = patience.delay(failures)
            if now + pause > deadline:
                raise
            logger.warning("%s: %s; trying again in %.1f s", what, error, pause)
            sleep(pause)
