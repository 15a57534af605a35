"""What is measured once in a run and kept in its storage.

Rules this module keeps:

* A name holds a digest of all that the content depends on: other settings, another name.
* Statistics have tens of megabytes and are needed on rank 0 alone: the other ranks hold none.
* What was measured, for an hour maybe, is used also where the store does not answer then: it is not
  kept, and that is told.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from sid_trainer.contract import FailureReason, TrainerError
from sid_trainer.evaluate.statistics import FeatureStatistics
from sid_trainer.process.group import ProcessGroup, from_first
from sid_trainer.storage import Storage

FOLDER = "metrics/reference"
MAX_BYTES = 2**30
"""Of a file of statistics; Inception's have 34 MB."""

logger = logging.getLogger(__name__)
Result = TypeVar("Result")
Fitted = Callable[[], FeatureStatistics]
"""Gives the statistics of what all ranks have seen; called on rank 0 alone."""


def digest(*facts: Any) -> str:
    """A name for facts that JSON can express."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def file_digest(path: Path) -> str:
    """A name for a file's content."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def unless_away(what: str, store: Callable[[], Result]) -> Result | None:
    """Store what the run can do without for now; None where the store does not answer."""
    try:
        return store()
    except TrainerError as error:
        if error.reason is not FailureReason.STORAGE_UNAVAILABLE:
            raise
        logger.warning("%s: not stored, and the run goes on: %s", what, error)
        return None


class Kept:
    """Statistics and numbers in a run's storage; all methods are collectives.

    Args:
        group: all ranks.
        storage: the run's folder.
    """

    def __init__(self, group: ProcessGroup, storage: Storage) -> None:
        self._group, self._storage = group, storage

    def statistics(self, name: str, measure: Callable[[], Fitted]) -> FeatureStatistics | None:
        """Kept statistics, or new ones that are kept from now on; on rank 0, None elsewhere.

        Args:
            name: without suffix.
            measure: a collective that measures.
        """
        key = f"{FOLDER}/{name}.npz"
        if from_first(self._group, lambda: self._storage.exists(key)):
            return self.on_first(
                lambda: FeatureStatistics.from_npz(self._storage.get_bytes(key, MAX_BYTES), key)
            )
        fitted = measure()

        def keep() -> FeatureStatistics:
            statistics = fitted()
            self._put(key, statistics.to_npz(), "application/octet-stream")
            return statistics

        return self.on_first(keep)

    def numbers(self, name: str, measure: Callable[[], Mapping[str, float]]) -> dict[str, float]:
        """Kept numbers, or new ones that are kept from now on; on every rank.

        Args:
            name: without suffix.
            measure: a collective that measures; every rank has the same result.
        """
        key = f"{FOLDER}/{name}.json"
        known = from_first(self._group, lambda: self._recalled(key))
        if known is not None:
            return known
        numbers = dict(measure())
        data = json.dumps(numbers).encode()
        from_first(self._group, lambda: self._put(key, data, "application/json"))
        return numbers

    def _put(self, key: str, data: bytes, content_type: str) -> None:
        unless_away(key, lambda: self._storage.put_bytes(key, data, content_type))

    def _recalled(self, key: str) -> dict[str, float] | None:
        if not self._storage.exists(key):
            return None
        numbers: dict[str, float] = json.loads(self._storage.get_bytes(key))
        return numbers

    def on_first(self, work: Fitted) -> FeatureStatistics | None:
        """Run on rank 0, where the result stays; a failure is everybody's."""
        results: list[FeatureStatistics] = []
        from_first(self._group, lambda: results.append(work()))
        return results[0] if results else None
