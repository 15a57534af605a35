"""Real images, dealt out to the ranks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sid_trainer.contract import FailureReason, TrainerError
from sid_trainer.data.images.parts import ImagePart, LocalShard
from sid_trainer.evaluate.reference import read_statistics, share


def test_a_few_parts_are_shared_by_all_ranks_and_many_are_dealt_out() -> None:
    for count, world in ((1, 1), (1, 8), (3, 8), (8, 8), (9, 8), (20, 3)):
        parts: list[ImagePart] = [LocalShard(str(number), "") for number in range(count)]
        read = [
            (part.name, sample)
            for rank in range(world)
            for part, which in share(parts, rank, world)
            for sample in range(20)[which]
        ]
        assert sorted(read) == sorted((part.name, n) for part in parts for n in range(20))


@pytest.mark.parametrize("array", ["mu", "sigma"])
def test_statistics_with_nan_are_refused_by_name(tmp_path: Path, array: str) -> None:
    arrays = {"mu": np.zeros(3), "sigma": np.eye(3)}
    arrays[array][0] = np.nan
    np.savez(tmp_path / "coco.npz", **arrays)
    with pytest.raises(TrainerError, match=r"coco\.npz has NaN or infinity") as told:
        read_statistics(str(tmp_path / "coco.npz"), None)
    assert told.value.reason is FailureReason.INVALID_DATA
