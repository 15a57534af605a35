"""Which start of the run this is: a number kept in the run's own storage.

Rules this module keeps:

* The number is claimed by rank 0 before anything heavy: restarts are counted exactly, whoever
  watched, and a store that refuses writes is told in seconds.
* An attempt is what stands under ``metrics/attempt-0001/``: the claim is its first object.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime

from sid_trainer.storage import Storage

FOLDER = "metrics"
_PATTERN = re.compile(rf"{FOLDER}/attempt-(\d{{4,}})/")


def attempt_folder(attempt: int) -> str:
    """Folder of an attempt's metrics, with the final slash."""
    return f"{FOLDER}/attempt-{attempt:04d}/"


def last_attempt(storage: Storage) -> int:
    """The highest attempt that was claimed, 0 when there was none."""
    keys = (found.key for found in storage.list(FOLDER + "/"))
    return max((int(m[1]) for key in keys if (m := _PATTERN.match(key))), default=0)


def claim_attempt(storage: Storage) -> int:
    """Take the next number; to be called once a start, on rank 0.

    Raises:
        TrainerError: when the storage cannot be read or written.
    """
    attempt = last_attempt(storage) + 1
    claim = {"attempt": attempt, "startTime": datetime.now(UTC).isoformat(timespec="seconds")}
    storage.put_bytes(
        attempt_folder(attempt) + "attempt.json", json.dumps(claim).encode(), "application/json"
    )
    return attempt
