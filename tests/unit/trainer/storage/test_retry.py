"""Patience with a store."""

from __future__ import annotations

import pytest

from sid_trainer.storage.retry import Patience, TransientError, patiently


class Clock:
    """Time that passes only in pauses."""

    def __init__(self) -> None:
        self.now, self.pauses = 0.0, 0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now, self.pauses = self.now + seconds, self.pauses + 1


def test_patience_ends_in_time() -> None:
    clock = Clock()

    def fail() -> None:
        raise TransientError("no")

    with pytest.raises(TransientError):
        patiently(fail, Patience(seconds=20.0), "x", clock=clock, sleep=clock.sleep)
    assert 10 < clock.now <= 20


def test_patience_begins_anew_with_what_gets_on() -> None:
    clock, read = Clock(), [0]

    def piece() -> int:
        if read[0] == 50:
            return read[0]
        read[0] += 1
        raise TransientError("cut off")

    patience = Patience(seconds=2.0)
    done = patiently(piece, patience, "x", lambda: read[0], clock, clock.sleep)
    assert (done, clock.pauses) == (50, 50)
    assert clock.now > patience.seconds
    assert clock.now < 50 * 1.5 * patience.first_delay, "no pause grew"


def test_pauses_grow_are_random_and_bounded() -> None:
    patience = Patience()
    assert patience.delay(1, lambda: 0.0) == 0.125
    assert patience.delay(1, lambda: 1.0) == 0.375
    assert patience.delay(3, lambda: 0.5) == 1.0
    assert patience.delay(5000, lambda: 1.0) == 6.0
