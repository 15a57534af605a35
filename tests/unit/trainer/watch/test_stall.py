"""Who is waited for, by the heartbeats of all ranks."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sid_trainer.watch.stall import (
    UNHEARD,
    Heartbeat,
    Judgement,
    judge_stall,
    store_is_silent,
)


def beats(*places: tuple[int, int, int]) -> list[Heartbeat]:
    """Heartbeats from (beats, tasks, collectives) of each rank."""
    return [Heartbeat(n, tasks, begun, f"iteration {tasks}") for n, tasks, begun in places]


@pytest.mark.parametrize(
    ("before", "after", "ranks", "message"),
    [
        (
            beats((5, 9, 100), (5, 9, 100), (5, 9, 97)),
            beats((8, 9, 100), (8, 9, 100), (8, 9, 97)),
            (2,),
            "rank 2 has not finished iteration 9 (the stacks of its threads are in the log of its "
            "pod); the others wait",
        ),
        # Hosts of GPUs run ahead: those that are an iteration further are not waited for.
        (
            beats((5, 9, 100), (5, 8, 100), (5, 9, 100)),
            beats((7, 9, 100), (9, 8, 100), (6, 9, 100)),
            (1,),
            "rank 1 has not finished iteration 8",
        ),
        # A process that is stopped says nothing, whatever it said last.
        (
            beats((5, 9, 100), (4, 9, 100), (5, 9, 99)),
            beats((8, 9, 100), (4, 9, 100), (8, 9, 99)),
            (1,),
            "rank 1 has not finished iteration 9 (not responding: stopped, or the node is gone)",
        ),
        # Nor does its last word tell what it did when it stopped.
        (
            [*beats((5, 9, 100), (5, 9, 100)), UNHEARD],
            [*beats((8, 9, 100), (8, 9, 100)), UNHEARD],
            (2,),
            "rank 2 has not finished iteration 9 (not responding",
        ),
        (
            beats((5, 9, 98), (5, 9, 98), (5, 9, 99)),
            beats((8, 9, 98), (8, 9, 98), (8, 9, 99)),
            (0, 1),
            "ranks 0, 1 have not finished iteration 9",
        ),
        (
            beats((5, 9, 99), (5, 9, 99)),
            beats((8, 9, 99), (8, 9, 99)),
            (),
            "no rank has finished iteration 9, and all are at the same operation",
        ),
        (beats((5, 9, 99)), beats((8, 9, 99)), (0,), "rank 0 has not finished iteration 9"),
    ],
)
def test_who_is_waited_for(
    before: list[Heartbeat], after: list[Heartbeat], ranks: tuple[int, ...], message: str
) -> None:
    judgement = judge_stall(before, after)
    assert judgement is not None
    assert judgement.ranks == ranks
    assert message in judgement.message
    assert ("others" in judgement.message) == (0 < len(ranks) < len(after))


BEFORE = [Heartbeat(5, 9, 97, "iteration 9")] * 2
WAITS = Heartbeat(8, 9, 100, "iteration 9")
FETCHES = Heartbeat(8, 9, 97, "the data of iteration 9", in_time=True)


@pytest.mark.parametrize(
    ("after", "ranks"),
    [
        ([WAITS, FETCHES], None),  # it has longer than those that wait for it
        ([WAITS, replace(FETCHES, in_time=False)], (1,)),
        ([replace(WAITS, in_time=True), replace(FETCHES, in_time=False)], (1,)),
        ([WAITS, replace(WAITS, in_time=True)], None),  # no pace is quite like another
        ([WAITS, replace(FETCHES, beats=5)], (1,)),  # it was in time when it stopped
    ],
)
def test_who_is_in_time_is_waited_for(
    after: list[Heartbeat], ranks: tuple[int, ...] | None
) -> None:
    judgement = judge_stall(BEFORE, after)
    assert (judgement.ranks if judgement else None) == ranks


@pytest.mark.parametrize(
    ("ranks", "concerned"), [((5,), {4, 5}), ((1, 4), {0, 1, 4, 5}), ((), {0, 1})]
)
def test_a_judgement_concerns_the_pods_of_those_that_hang(
    ranks: tuple[int, ...], concerned: set[int]
) -> None:
    judgement = Judgement(ranks, "so")
    assert {rank for rank in range(8) if judgement.concerns(rank, per_node=2)} == concerned
    assert Judgement.decoded(judgement.encoded()) == judgement


def test_the_store_is_at_rank_0() -> None:
    judgement = store_is_silent("iteration 3")
    assert judgement.ranks == (0,)
    assert "rank 0 has not finished iteration 3 (not responding" in judgement.message


def test_heartbeats_travel_as_text() -> None:
    (beat,) = beats((1, 2, 3))
    assert Heartbeat.decoded(beat.encoded().encode()) == beat
