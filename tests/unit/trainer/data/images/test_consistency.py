"""The same images on all nodes, and as when the checkpoint was made."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from sid_trainer.contract import TrainerError
from sid_trainer.data.images.consistency import (
    META,
    fingerprint,
    require_same_parts,
    tell_other_images,
)
from sid_trainer.data.images.count import Count
from tests.unit.trainer.data.images.files import Unopened


@dataclass
class Ranks:
    """Two ranks, of which the other one says something of its own."""

    other: str
    rank: int = 0
    world_size: int = 2

    def all_gather(self, value: str) -> list[str]:
        return [value, self.other or value]


def test_all_nodes_must_see_the_same_parts() -> None:
    parts = [Unopened("s.tar", "1")]
    require_same_parts(Ranks(""), parts)
    with pytest.raises(TrainerError, match="not the same on all nodes: mount the same volume"):
        require_same_parts(Ranks("of other parts"), parts)


@dataclass
class Images:
    fingerprint: str


def test_other_images_than_the_checkpoints_are_told(caplog: pytest.LogCaptureFixture) -> None:
    names = [Unopened("a.tar", "1"), Unopened("b.tar", "1")]
    counts = [Count(4, (), 0), Count(5, (), 0)]
    before = fingerprint(names, counts)
    for meta, images in [({}, before), ({META: before}, before), ({META: before}, None)]:
        tell_other_images(meta, images and Images(images))
    assert not caplog.text
    tell_other_images({META: before}, Images(fingerprint(names, [Count(4, (1,), 0), counts[1]])))
    assert "other images than when the checkpoint was made" in caplog.text
