"""The gate: each criterion by itself decides."""

import math

import pytest

from sid_trainer.digits import gate
from sid_trainer.digits.gate import Sampler, Score

PASSING = {
    gate.TEACHER_50: Score(fd=2.0, fd_teacher=0.0, accuracy=0.97),
    gate.TEACHER_4: Score(fd=3.7, fd_teacher=1.0, accuracy=0.99),
    gate.UNTRAINED_4: Score(fd=6.6, fd_teacher=6.0, accuracy=1.0),
    gate.UNTRAINED_1: Score(fd=21.0, fd_teacher=20.0, accuracy=1.0),
    gate.STUDENT_4: Score(fd=2.5, fd_teacher=1.5, accuracy=0.95),
    gate.STUDENT_1: Score(fd=3.5, fd_teacher=3.0, accuracy=0.95),
}


def failed(scores: dict[Sampler, Score]) -> list[str]:
    return [criterion.name for criterion in gate.criteria(scores) if not criterion.passed]


def test_a_good_student_passes() -> None:
    assert failed(PASSING) == []


@pytest.mark.parametrize(
    ("sampler", "change", "name"),
    [
        (gate.TEACHER_50, {"fd": 1.5}, "FD of 4 steps / teacher's of 50"),
        (gate.TEACHER_4, {"fd": 2.7}, "FD of 4 steps / teacher's of 4"),
        (gate.STUDENT_1, {"fd": 6.0}, "FD of 1 step / untrained"),
        (gate.STUDENT_4, {"fd_teacher": 2.5}, "FD to teacher / untrained"),
        (gate.STUDENT_4, {"accuracy": 0.89}, "accuracy of 4 steps"),
    ],
)
def test_one_missed_bound_is_told_by_name(
    sampler: Sampler, change: dict[str, float], name: str
) -> None:
    scores = {**PASSING, sampler: PASSING[sampler]._replace(**change)}
    assert failed(scores) == [name]


def test_nan_never_passes() -> None:
    broken = {sampler: Score(math.nan, math.nan, math.nan) for sampler in gate.ALL}
    assert len(failed(broken)) == len(gate.criteria(broken))
