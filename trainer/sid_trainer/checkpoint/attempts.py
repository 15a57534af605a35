"""Which start of the run this is: a number kept in the run's own storage.

Rules this module keeps:

* The number is claimed by rank 0 before anything heavy: restarts are counted exactly, whoever
  watched, and a store that refuses writes is told in seconds.
* An attempt is what stands under ``metrics/attempt-0001/``: the claim is its first object, and
  ``done.json`` its last: with it, a pod that replaces one lost in the last moment need not wait for
  peers that are done.
* No two starts have one number: a claim is written only where none is. Where a store cannot do
  that, the last writer has the number, and the other learns of it when it next looks.
* Who finds a later claim, or its own in other hands, has been replaced and writes no more.
"""

from __future__ import annotations

import json
import re
import secrets
import socket
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sid_trainer.contract import FailureReason, TrainerError
from sid_trainer.storage import Storage

FOLDER = "metrics"
MAX_CLAIM_BYTES = 4096
MAX_TRIES = 16
"""Starts at the same moment that one claim gives way to."""
_PATTERN = re.compile(rf"{FOLDER}/attempt-(\d{{4,}})/")


@dataclass(frozen=True)
class Claim:
    """A number that this start of the run has.

    Attributes:
        attempt: the number, from 1.
        token: tells this claim from another of the same number.
    """

    attempt: int
    token: str


def metrics_folder(attempt: int) -> str:
    """Folder of an attempt's metrics, with the final slash."""
    return f"{FOLDER}/attempt-{attempt:04d}/"


def claim_key(attempt: int) -> str:
    """Key of the object that claims a number."""
    return metrics_folder(attempt) + "attempt.json"


def last_attempt(storage: Storage) -> int:
    """The highest attempt that was claimed, 0 when there was none."""
    keys = (found.key for found in storage.list(FOLDER + "/"))
    return max((int(m[1]) for key in keys if (m := _PATTERN.match(key))), default=0)


def claim_attempt(storage: Storage) -> Claim:
    """Take the next number; to be called once a start, on rank 0.

    Raises:
        TrainerError: when the storage cannot be read or written.
    """
    token = secrets.token_hex(16)
    for _ in range(MAX_TRIES):
        attempt = last_attempt(storage) + 1
        content = {
            "attempt": attempt,
            "startTime": datetime.now(UTC).isoformat(timespec="seconds"),
            "host": socket.gethostname(),
            "token": token,
        }
        data = json.dumps(content).encode()
        if storage.put_if(claim_key(attempt), data, None, "application/json"):
            return Claim(attempt, token)
    raise TrainerError(
        FailureReason.STORAGE_UNAVAILABLE,
        f"{MAX_TRIES} other starts took the next number in {storage.uri(FOLDER)} first: is the run "
        "started again and again elsewhere, with the same folder?",
    )


def require_newest(storage: Storage, claim: Claim) -> None:
    """Raise if another start of the run has taken over.

    A claim that is gone altogether, with the run's folder, is no sign of another start.

    Raises:
        TrainerError: ``PeerLost``, so that a pod of the run joins the newer start.
    """
    newer = _read(storage, claim.attempt + 1)
    own = _read(storage, claim.attempt)
    if newer is None and own is not None and own.get("token") != claim.token:
        newer = own
    if newer is not None:
        raise TrainerError(
            FailureReason.PEER_LOST,
            f"attempt {newer.get('attempt')} of this run, started {newer.get('startTime')} on "
            f"{newer.get('host')}, has taken over {storage.uri()} from attempt {claim.attempt}, "
            "which writes no more; where these are two runs, give each a folder of its own",
        )


def note_done(storage: Storage, attempt: int, gang: str) -> None:
    """Note that everything is stored, for pods of the same gang that come too late."""
    content = {"gang": gang, "completionTime": datetime.now(UTC).isoformat(timespec="seconds")}
    storage.put_bytes(_done_key(attempt), json.dumps(content).encode(), "application/json")


def is_done(storage: Storage, gang: str) -> bool:
    """Whether the newest attempt is done, and was this gang's."""
    attempt = last_attempt(storage)
    if attempt == 0 or not storage.exists(_done_key(attempt)):
        return False
    content = json.loads(storage.get_bytes(_done_key(attempt), MAX_CLAIM_BYTES))
    return bool(content.get("gang") == gang)


def _done_key(attempt: int) -> str:
    return metrics_folder(attempt) + "done.json"


def _read(storage: Storage, attempt: int) -> dict[str, Any] | None:
    """The claim of a number; None where there is none, {} where it is none of ours."""
    try:
        found = json.loads(storage.get_bytes(claim_key(attempt), MAX_CLAIM_BYTES))
    except ValueError:
        return {}
    except TrainerError as error:
        if error.reason is FailureReason.NOT_FOUND:
            return None
        raise
    return found if isinstance(found, dict) else {}
