"""What the launcher makes of a launch that ended."""

import signal

import pytest

from sid_trainer.contract import Failure, FailureReason
from sid_trainer.launch.verdict import AgentOutcome, WorkerExit, judge

KILL, TERM, ABORT = -signal.SIGKILL, -signal.SIGTERM, -signal.SIGABRT


def failure(reason: FailureReason, rank: int = 0) -> Failure:
    return Failure(reason=reason, message=f"{reason} of rank {rank}", rank=rank)


def workers(*exits: tuple[int, int]) -> AgentOutcome:
    return AgentOutcome("workers", tuple(WorkerExit(*one) for one in exits))


LOST = FailureReason.PEER_LOST


@pytest.mark.parametrize(
    ("outcome", "told", "nodes", "action", "reason"),
    [
        (AgentOutcome("succeeded"), [], 2, "finish", None),
        # Own causes end the pod, whatever else was lost after them.
        (workers((0, 66)), [failure(FailureReason.NOT_FOUND)], 2, "fail", "NotFound"),
        (
            workers((0, 80), (1, 70)),
            [failure(LOST), failure(FailureReason.NUMERICAL_ERROR, 1)],
            2,
            "fail",
            "NumericalError",
        ),
        (workers((0, KILL)), [], 2, "fail", "Error"),
        (workers((0, KILL), (1, TERM)), [], 2, "fail", "Error"),
        (workers((0, -signal.SIGSEGV), (1, 80)), [failure(LOST, 1)], 2, "fail", "Error"),
        (workers((0, 1)), [], 2, "fail", "Error"),
        (workers((0, TERM), (1, TERM)), [], 2, "fail", "Error"),
        (AgentOutcome("error", detail="boom"), [], 2, "fail", "Error"),
        # A rank that hangs is killed in the end; the one that waited for it has told of it.
        (
            workers((0, 81), (1, KILL)),
            [failure(FailureReason.STALLED)],
            2,
            "fail",
            "Stalled",
        ),
        # A lost peer: wait for its replacement, if there is another pod.
        (workers((0, 80)), [failure(LOST)], 2, "relaunch", "PeerLost"),
        (workers((0, 80), (1, TERM)), [failure(LOST)], 2, "relaunch", "PeerLost"),
        (workers((0, ABORT), (1, ABORT)), [], 2, "relaunch", "PeerLost"),
        (AgentOutcome("rendezvous", detail="closed"), [], 2, "relaunch", "PeerLost"),
        (workers((0, 80)), [failure(LOST)], 1, "fail", "PeerLost"),
        (AgentOutcome("rendezvous"), [], 1, "fail", "PeerLost"),
    ],
)
def test_verdicts(
    outcome: AgentOutcome, told: list[Failure], nodes: int, action: str, reason: str | None
) -> None:
    verdict = judge(outcome, told, nodes)
    assert verdict.action == action
    assert (verdict.failure.reason if verdict.failure else None) == reason


def test_a_kill_at_the_memory_limit_is_out_of_memory() -> None:
    verdict = judge(workers((3, KILL)), [], 2, memory_killed=True)
    assert verdict.failure is not None
    assert verdict.failure.reason is FailureReason.OUT_OF_MEMORY
    assert verdict.failure.rank == 3
    ended = judge(AgentOutcome("error", detail="code -9"), [], 2, memory_killed=True)
    assert ended.failure is not None
    assert ended.failure.reason is FailureReason.OUT_OF_MEMORY
    assert ended.failure.message.startswith("torchrun was killed")


def test_the_message_names_the_signal() -> None:
    verdict = judge(workers((1, KILL)), [], 1)
    assert verdict.failure is not None
    assert "rank 1 ended with signal SIGKILL" in verdict.failure.message


def test_a_group_that_broke_without_a_word_is_told_by_its_ends() -> None:
    verdict = judge(workers((0, ABORT), (1, ABORT)), [], 1)
    assert verdict.failure is not None
    assert verdict.failure.message == (
        "the group of all ranks broke: rank 0 ended with signal SIGABRT, "
        "rank 1 ended with signal SIGABRT"
    )
