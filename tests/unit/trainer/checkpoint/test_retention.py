"""Which checkpoints stay after a commit: the newest, the best, and never none."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from sid_trainer.checkpoint import layout
from sid_trainer.checkpoint.manifest import Manifest, PartFile
from sid_trainer.checkpoint.retention import best_of, obsolete

ATTEMPT = 2


def checkpoint(iteration: int, attempt: int = ATTEMPT) -> Manifest:
    part = PartFile(key=layout.part_key(attempt, 0), size=8, checksum=f"xxh3-128:{0:032x}")
    return Manifest(
        iteration=iteration,
        world_size=1,
        attempt=attempt,
        time=datetime(2026, 1, 1, tzinfo=UTC),
        settings_digest="",
        settings={},
        parts=(part,),
    )


def keys_of(manifests: list[Manifest]) -> list[str]:
    return [key for m in manifests for key in (layout.manifest_key(m.iteration), m.part_key(0))]


@dataclass(frozen=True)
class Case:
    """Checkpoints that there are, of which the last one was just committed, and what stays.

    Attributes:
        ranking: measured iterations, the best first.
    """

    there: list[int]
    keep_last: int
    stay: list[int]
    keep_best: int = 0
    ranking: tuple[int, ...] = ()


CASES = {
    "the first": Case([10], 1, [10]),
    "fewer than kept": Case([10, 20], 3, [10, 20]),
    "as many as kept": Case([10, 20, 30], 2, [20, 30]),
    "only the newest": Case([10, 20, 30], 1, [30]),
    "the best besides": Case([10, 20, 30, 40], 1, [20, 40], 1, (20, 10, 30)),
    "the best is among the newest": Case([10, 20, 30], 2, [20, 30], 1, (30, 20, 10)),
    "two best": Case([10, 20, 30, 40], 1, [10, 30, 40], 2, (30, 10, 20)),
    "the newest is not measured yet": Case([10, 20, 30], 1, [10, 30], 1, (10, 20)),
    "the newest has become the best": Case([10, 20, 30], 1, [30], 1, (30, 10, 20)),
    "the best has no checkpoint": Case([10, 20, 30], 1, [10, 30], 1, (15, 10, 20)),
    "none was measured": Case([10, 20, 30], 1, [30], 3),
    "more best than there are": Case([10, 20, 30], 1, [10, 20, 30], 9, (10, 20)),
    "nobody asks for the best": Case([10, 20, 30], 1, [30], 0, (10, 20)),
    "one of an earlier place is committed again": Case([20, 30, 10], 1, [10, 30]),
    "committed behind, and the best ahead": Case([20, 30, 10], 1, [10, 20, 30], 1, (20,)),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_what_stays(case: Case) -> None:
    *earlier, last = case.there
    manifests = [*(checkpoint(iteration, ATTEMPT - 1) for iteration in earlier), checkpoint(last)]
    keys, committed = keys_of(manifests), manifests[-1]
    best = best_of(case.ranking, manifests, case.keep_best)
    dropped = obsolete(keys, manifests, case.keep_last, committed, best)
    left = [key for key in keys if key not in dropped]
    assert left == keys_of([each for each in manifests if each.iteration in case.stay])
    manifests_first = [key.endswith(layout.MANIFEST_NAME) for key in dropped]
    assert manifests_first == sorted(manifests_first, reverse=True)


def key(iteration: int, attempt: int, rank: int = 0) -> str:
    return f"{layout.folder(iteration)}/{layout.part_key(attempt, rank)}"


@pytest.mark.parametrize(
    ("left_over", "goes"),
    [
        (key(15, 1), True),  # of a dead attempt
        (key(20, 1), True),  # beside ours
        (key(20, ATTEMPT, 7), True),  # ours, and in no manifest
        (key(30, ATTEMPT), False),  # ours, on its way
        (key(15, 3), False),  # of a later attempt
        (key(30, 3), False),
        ("checkpoints/iter-00000015/begun.json", True),
        ("checkpoints/iter-00000015/manifest.json", False),  # nobody could read it
        ("checkpoints/notes.txt", False),  # not ours
    ],
)
def test_what_no_manifest_names(left_over: str, goes: bool) -> None:
    manifests = [checkpoint(20)]
    dropped = obsolete([*keys_of(manifests), left_over], manifests, 2, manifests[0])
    assert dropped == ([left_over] if goes else [])


@pytest.mark.parametrize(
    ("there", "keep_last", "goes"),
    [
        ([10, 20], 1, False),  # training went back to 10, and has not passed it yet
        ([10, 20, 40], 1, True),
        ([10, 20, 40], 2, False),
        ([10, 30], 1, True),  # committed anew in its place
        ([10, 30], 2, False),
        ([10, 30, 40], 2, True),
    ],
)
def test_a_damaged_one_stays_until_enough_newer_ones_are_there(
    there: list[int], keep_last: int, goes: bool
) -> None:
    damaged = [key(30, 1), key(30, 1, 1), f"{layout.folder(30)}/{layout.RETIRED_NAME}"]
    manifests = [checkpoint(iteration) for iteration in there]
    keys = [*damaged, *keys_of(manifests)]
    dropped = obsolete(keys, manifests, keep_last, manifests[-1])
    assert sorted(set(dropped) & set(damaged)) == (damaged if goes else [])
    assert not set(dropped) & set(keys_of(manifests[-keep_last:]))
