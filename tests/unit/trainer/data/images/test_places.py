"""Which files an address means."""

from __future__ import annotations

from pathlib import Path

import pytest

from sid_trainer.contract import FailureReason, TrainerError
from sid_trainer.data.images.places import expanded, find_parts
from tests.unit.trainer.data.images.files import contents, pair, picture, shard


def test_a_pattern_names_shards(tmp_path: Path) -> None:
    for number in range(12):
        shard(tmp_path / f"s-{number:02}.tar", {"a.png": picture(), "a.txt": str(number).encode()})
    assert [text for _, text in contents(f"{tmp_path}/s-{{09..11}}.tar")] == ["9", "10", "11"]
    assert len(find_parts(str(tmp_path))) == 12
    assert len(find_parts(f"file://{tmp_path}/")) == 12


def test_ranges() -> None:
    assert expanded("a{8..10}.tar") == ["a8.tar", "a9.tar", "a10.tar"]
    assert expanded("a{08..10}.tar") == ["a08.tar", "a09.tar", "a10.tar"]
    assert expanded("{0..1}/{5..6}.tar") == ["0/5.tar", "0/6.tar", "1/5.tar", "1/6.tar"]
    assert expanded("a.tar") == ["a.tar"]


@pytest.mark.parametrize(
    ("uri", "reason", "message"),
    [
        ("nowhere", FailureReason.NOT_FOUND, "nowhere does not exist: check the path"),
        ("s-{0..3}.tar", FailureReason.NOT_FOUND, r"s-1\.tar \(and 2 more\) does not exist"),
        ("s-7.tar", FailureReason.NOT_FOUND, r"s-7\.tar does not exist"),
        ("s-{3..0}.tar", FailureReason.INVALID_CONFIGURATION, r"goes down: write \{0\.\.3\}"),
        ("s-0.tar.gz", FailureReason.INVALID_DATA, "is compressed"),
    ],
)
def test_addresses_that_lead_nowhere(
    uri: str, reason: FailureReason, message: str, tmp_path: Path
) -> None:
    pair(tmp_path / "s-0.tar")
    with pytest.raises(TrainerError, match=message) as caught:
        find_parts(f"{tmp_path}/{uri}")
    assert caught.value.reason is reason
