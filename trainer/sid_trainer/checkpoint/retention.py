"""Which objects are no longer needed: a pure decision, taken after a commit.

Rules this module keeps:

* The newest checkpoints by iteration stay, as many as the user keeps, and besides the best ones by
  the metric that the user has chosen. The one that was just committed always stays.
* Parts that no kept manifest names go: of dropped checkpoints, and what dead attempts left.
* What there is of a checkpoint that was found damaged stays until there are as many newer ones as
  the user keeps: it may be mended, or be whole after all.
* Nothing of a later attempt than ours is touched: if two run at once, the older must not harm the
  newer. Neither is anything of ours beyond the commit.
* Manifests go before their parts, so that a checkpoint half removed is none.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from sid_trainer.checkpoint.layout import (
    MANIFEST_NAME,
    RETIRED_NAME,
    attempt_of,
    iteration_of,
    manifest_key,
)
from sid_trainer.checkpoint.manifest import Manifest


def obsolete(
    keys: Collection[str],
    manifests: Sequence[Manifest],
    keep_last: int,
    committed: Manifest,
    best: Collection[int] = (),
) -> list[str]:
    """Keys to delete, in the order to delete them.

    Args:
        keys: all keys below ``checkpoints/``.
        manifests: every readable manifest, ``committed`` included.
        keep_last: number of checkpoints to keep.
        committed: the checkpoint that was just committed.
        best: iterations of checkpoints that are kept besides.
    """
    newest = sorted(manifests, key=lambda m: m.iteration, reverse=True)
    kept = [*newest[:keep_last], *(m for m in newest if m.iteration in best), committed]
    needed = {m.part_key(rank) for m in kept for rank in range(m.world_size)}
    needed |= {manifest_key(m.iteration) for m in kept}
    readable = {manifest_key(m.iteration): m.attempt for m in manifests}
    spared = _retired(keys, newest, keep_last)
    dropped = [
        key
        for key in keys
        if key not in needed and iteration_of(key) not in spared and _ours(key, readable, committed)
    ]
    return sorted(dropped, key=lambda key: (not key.endswith(MANIFEST_NAME), key))


def best_of(ranking: Iterable[int], manifests: Iterable[Manifest], count: int) -> set[int]:
    """Iterations of the ``count`` best checkpoints.

    Args:
        ranking: iterations of measured students, the best first; not all have a checkpoint.
        manifests: every readable manifest.
        count: how many there shall be at most.
    """
    there = {manifest.iteration for manifest in manifests}
    return set([iteration for iteration in ranking if iteration in there][:count])


def _retired(keys: Iterable[str], manifests: Sequence[Manifest], keep_last: int) -> set[int]:
    """Iterations of damaged checkpoints that have fewer than ``keep_last`` newer ones.

    One that was committed anew in the place of a damaged one is newer.
    """
    found = {iteration_of(key) for key in keys if key.endswith("/" + RETIRED_NAME)}
    return {
        iteration
        for iteration in found
        if iteration is not None
        and sum(manifest.iteration >= iteration for manifest in manifests) < keep_last
    }


def _ours(key: str, readable: dict[str, int], committed: Manifest) -> bool:
    """Whether this attempt may judge the object."""
    attempt, iteration = attempt_of(key), iteration_of(key)
    if iteration is None:
        return False
    if attempt is None and key.endswith("/" + MANIFEST_NAME):
        attempt = readable.get(key)
        return attempt is not None and attempt <= committed.attempt
    if attempt is None:
        return True
    if attempt == committed.attempt:
        return iteration <= committed.iteration
    return attempt < committed.attempt
