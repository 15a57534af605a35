"""The record of evaluations, and the best of those that can be compared."""

from __future__ import annotations

from pathlib import Path

import pytest

from sid_trainer.contract import FailureReason, TrainerError
from sid_trainer.report.records import KEY, Best, Records
from sid_trainer.storage import FileStorage
from tests.unit.trainer.report.evaluations import evaluated


def test_records_replace_order_and_return(tmp_path: Path) -> None:
    records = Records()
    for each in (evaluated(20, fid=3.0), evaluated(10, fid=5.0), evaluated(20, fid=2.0)):
        records = records.with_evaluation(each)
    assert [(e.iteration, e.metrics["fid"]) for e in records.evaluations] == [(10, 5.0), (20, 2.0)]
    assert records.latest == {"fid": 2.0}
    assert records.at(10, "b") is None
    storage = FileStorage(tmp_path)
    assert Records.load(storage) == Records()
    records.save(storage)
    assert Records.load(storage) == records
    assert b'"evaluations"' in storage.get_bytes(KEY)
    assert records.beside == {}
    measured = Records(teacher=dict.fromkeys(("fid", "clipScore", "preferenceScore"), 1.0))
    assert list(measured.beside) == ["teacherFid", "teacherClipScore", "teacherPreferenceScore"]


def test_metrics_that_were_no_numbers_are_read_as_absent(tmp_path: Path) -> None:
    """JSON writes them as null."""
    storage = FileStorage(tmp_path)
    odd = {"fid": float("nan"), "clipScore": 0.3}
    Records(evaluations=(evaluated(10, **odd),), teacher=odd).save(storage)
    assert b"null" in storage.get_bytes(KEY)
    records = Records.load(storage)
    assert records.evaluations == (evaluated(10, clipScore=0.3),)
    assert records.teacher == {"clipScore": 0.3}


@pytest.mark.parametrize("data", [b"", b"[]", b'{"evaluations": [{"metrics": []}]}'])
def test_records_that_are_none_are_told_by_address(tmp_path: Path, data: bytes) -> None:
    storage = FileStorage(tmp_path)
    storage.put_bytes(KEY, data)
    with pytest.raises(TrainerError, match=r"metrics/evaluations\.json holds no") as told:
        Records.load(storage)
    assert told.value.reason is FailureReason.INVALID_DATA


def test_the_best_is_of_equal_settings_and_in_the_right_direction() -> None:
    records = Records()
    for each in (
        evaluated(1, fid=3.0, clipScore=0.30),
        evaluated(2, fid=2.0, clipScore=0.33),
        evaluated(3, fid=2.5, clipScore=0.31),
        evaluated(4, "fewer samples", fid=0.5, clipScore=0.9),
        evaluated(5, fid=float("nan")),
    ):
        records = records.with_evaluation(each)
    for metric, iteration in (("fid", 2), ("clipScore", 2)):
        best = Best(metric, "a").of(records)  # type: ignore[arg-type]
        assert best is not None
        assert best.iteration == iteration
    assert Best("preferenceScore", "a").of(records) is None


def test_another_metric_beside_leaves_the_ranking_as_it_is() -> None:
    """Training goes on with a metric more: the best so far is still the best."""
    old = [evaluated(iteration, fid=fid) for iteration, fid in ((1, 3.0), (2, 2.0))]
    old = [each.model_copy(update={"bases": {"fid": "f"}}) for each in old]
    new = evaluated(3, "with clipScore", fid=2.5, clipScore=0.3)
    new = new.model_copy(update={"bases": {"fid": "f", "clipScore": "c"}})
    records = Records(evaluations=(*old, new))
    ranked = Best("fid", "with clipScore", {"fid": "f", "clipScore": "c"}).ranked(records)
    assert [each.iteration for each in ranked] == [2, 3, 1]
    assert Best.like("fid", new).ranked(records) == ranked
    assert Best.like("clipScore", new).ranked(records) == [new]
    assert Best("fid", "x", {"fid": "other features"}).ranked(records) == []


def test_records_from_before_there_were_bases_count_by_their_settings() -> None:
    records = Records(evaluations=(evaluated(1, fid=3.0), evaluated(2, "other", fid=1.0)))
    assert [e.iteration for e in Best("fid", "a", {"fid": "f"}).ranked(records)] == [1]
