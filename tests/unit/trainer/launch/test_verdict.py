"""What the launcher makes of a launch that ended."""

import signal
from pathlib import Path

import pytest

from sid_trainer.contract import MAX_TEXT, Failure, FailureReason
from sid_trainer.launch import agent
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
        # The disk is full: what is known is the code.
        (workers((0, 80), (1, 70)), [], 2, "fail", "NumericalError"),
        (workers((0, 66)), [failure(LOST, 1)], 2, "fail", "NotFound"),
        (workers((0, 80), (1, TERM)), [], 2, "relaunch", "PeerLost"),
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


def test_the_ends_of_many_are_told_as_far_as_there_is_room() -> None:
    verdict = judge(workers(*((rank, ABORT) for rank in range(64))), [], 2)
    assert verdict.action == "relaunch"
    assert verdict.failure is not None
    assert len(verdict.failure.message) == MAX_TEXT


def test_a_code_says_what_could_not_be_written() -> None:
    verdict = judge(workers((3, 70)), [], 1)
    assert verdict.failure is not None
    assert verdict.failure.message == (
        "rank 3 ended with exit code 70, and its message could not be written: see the pod's log"
    )


@pytest.mark.parametrize(
    ("outcome", "action", "reason"),
    [
        (AgentOutcome("succeeded"), "finish", None),
        (AgentOutcome("rendezvous", detail="closed"), "relaunch", "PeerLost"),
        (workers((0, 80), (1, ABORT)), "relaunch", "PeerLost"),
        (workers((0, 80), (1, 70)), "fail", "NumericalError"),
        (workers((0, 80), (1, KILL)), "fail", "Error"),
        (AgentOutcome("error", detail="boom"), "fail", "Error"),
    ],
)
def test_an_agent_that_cannot_write_its_outcome_says_it_by_its_code(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    outcome: AgentOutcome,
    action: str,
    reason: str | None,
) -> None:
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "agent.json"  # nothing can be written there
    monkeypatch.setattr(agent, "run_agent", lambda _: outcome)
    code = agent.main([str(path)])
    verdict = judge(agent.read_outcome(path, code), [], 2)
    assert verdict.action == action
    assert (verdict.failure.reason if verdict.failure else None) == reason


def test_an_outcome_is_read_as_it_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome = workers((0, 80), (1, ABORT))
    monkeypatch.setattr(agent, "run_agent", lambda _: outcome)
    path = tmp_path / "agent.json"
    assert agent.read_outcome(path, agent.main([str(path)])) == outcome
