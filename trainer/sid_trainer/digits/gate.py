"""The gate: what a student of the digits teacher must reach to count as distilled.

Pure: from scores to criteria. The bounds leave room for the spread over seeds and are missed by a
run with a wrong sign, an aliased or frozen network, a wrong time scale or a missing condition.
Accuracy is only a floor: a student that was never trained is blurred but always the right digit.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple


class Score(NamedTuple):
    """Quality of one set of samples."""

    fd: float
    """Fréchet distance to the real digits."""
    fd_teacher: float
    """Fréchet distance to the teacher's own 50-step samples."""
    accuracy: float
    """Share of the samples that are the digit of their prompt."""


class Sampler(NamedTuple):
    """Who made the samples, in how many steps."""

    network: str
    """``teacher``, ``student``, or ``untrained``: the teacher's weights, sampled as the student."""
    steps: int


TEACHER_50 = Sampler("teacher", 50)
TEACHER_4 = Sampler("teacher", 4)
UNTRAINED_4, UNTRAINED_1 = Sampler("untrained", 4), Sampler("untrained", 1)
STUDENT_4, STUDENT_1 = Sampler("student", 4), Sampler("student", 1)
ALL = (TEACHER_50, TEACHER_4, UNTRAINED_4, UNTRAINED_1, STUDENT_4, STUDENT_1)


@dataclasses.dataclass(frozen=True)
class Criterion:
    """One condition of the gate."""

    name: str
    value: float
    bound: float
    at_least: bool = False

    @property
    def passed(self) -> bool:
        """Whether the value keeps the bound; NaN does not."""
        return self.value >= self.bound if self.at_least else self.value <= self.bound


def criteria(scores: Mapping[Sampler, Score]) -> list[Criterion]:
    """Return the gate's five criteria with their values; ``scores`` has all of ``ALL``."""
    four, one, untrained = scores[STUDENT_4], scores[STUDENT_1], scores[UNTRAINED_4]
    return [
        Criterion("FD of 4 steps / teacher's of 50", four.fd / scores[TEACHER_50].fd, 1.6),
        Criterion("FD of 4 steps / teacher's of 4", four.fd / scores[TEACHER_4].fd, 0.9),
        Criterion("FD of 1 step / untrained", one.fd / scores[UNTRAINED_1].fd, 0.28),
        Criterion("FD to teacher / untrained", four.fd_teacher / untrained.fd_teacher, 0.4),
        Criterion("accuracy of 4 steps", four.accuracy, 0.90, at_least=True),
    ]
