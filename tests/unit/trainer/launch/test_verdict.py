"""What the launcher decides: verdicts after a launch, and how often to try again."""

import signal
from pathlib import Path

import pytest

from sid_trainer.config import LaunchConfig
from sid_trainer.contract import Failure, FailureReason, TrainerError
from sid_trainer.launch import rendezvous
from sid_trainer.launch.budget import Budget
from sid_trainer.launch.settings import LaunchSettings
from sid_trainer.launch.verdict import AgentOutcome, WorkerExit, judge
from sid_trainer.process import environment

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


SETTINGS = LaunchSettings(group_seconds=100, max_relaunches=3)


def test_waiting_without_a_group_is_bounded_in_time() -> None:
    budget = Budget(since=0.0)
    for now in (30.0, 60.0, 99.0):
        budget = budget.after_launch(now, formed=False, checkpoint=None)
        assert budget.exhausted(now, SETTINGS) is None
    assert "no group of all nodes" in str(budget.exhausted(100.0, SETTINGS))


def test_breaking_is_bounded_in_number_unless_a_checkpoint_is_new() -> None:
    budget = Budget(since=0.0)
    for relaunch in range(1, 4):
        budget = budget.after_launch(relaunch * 1000.0, formed=True, checkpoint=50)
        assert budget.relaunches == relaunch
        assert budget.exhausted(relaunch * 1000.0, SETTINGS) is None
    assert "broke 4 times" in str(
        budget.after_launch(4000.0, formed=True, checkpoint=50).exhausted(4000.0, SETTINGS)
    )
    renewed = budget.after_launch(4000.0, formed=True, checkpoint=100)
    assert renewed.relaunches == 1
    assert renewed.exhausted(4000.0, SETTINGS) is None


def test_pauses_double_up_to_a_bound() -> None:
    settings = LaunchSettings(first_pause=1.0, longest_pause=5.0)
    assert [settings.pause(n) for n in (1, 2, 3, 4, 50)] == [1.0, 2.0, 4.0, 5.0, 5.0]


def test_node_0_sorts_first_whatever_its_name() -> None:
    for host in ("zzz.example", "10.0.0.9", "digits-0.digits"):
        launch = LaunchConfig(nodes=12, rendezvous_host=host)
        addresses = [rendezvous.stated_address(launch, node) for node in range(12)]
        assert addresses[0] == host
        assert sorted(addresses) == addresses


@pytest.mark.parametrize("text", ["2", "-1", "x", ""])
def test_a_wrong_node_index_is_refused(text: str) -> None:
    with pytest.raises(TrainerError, match="JOB_COMPLETION_INDEX") as raised:
        rendezvous.node_rank({"JOB_COMPLETION_INDEX": text}, 2)
    assert raised.value.reason is FailureReason.INVALID_CONFIGURATION


def test_caches_leave_home_alone_and_user_settings_win() -> None:
    environ = environment.training_environment(
        {"TMPDIR": "/scratch", "HF_HOME": "/mine"}, "cpu", processes=2, cpus=5.0
    )
    assert environ["HF_HOME"] == "/mine"
    assert environ["TORCH_EXTENSIONS_DIR"] == "/scratch/sid-cache/torch-extensions"
    assert environ["OMP_NUM_THREADS"] == "2"
    assert environ["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] == "1"


@pytest.mark.parametrize(("content", "cpus"), [("max 100000", None), ("50000 100000", 0.5)])
def test_cpu_quota_of_cgroup_v2(tmp_path: Path, content: str, cpus: float | None) -> None:
    (tmp_path / "cpu.max").write_text(content)
    unlimited = environment.available_cpus(tmp_path / "none")
    assert environment.available_cpus(tmp_path) == (unlimited if cpus is None else cpus)


def test_cpu_quota_of_cgroup_v1(tmp_path: Path) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("25000\n")
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert environment.available_cpus(tmp_path) == 0.25


def test_memory_kills_are_counted_in_both_cgroup_versions(tmp_path: Path) -> None:
    assert environment.memory_kills(tmp_path) == 0
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory" / "memory.oom_control").write_text("under_oom 0\noom_kill 2\n")
    assert environment.memory_kills(tmp_path) == 2
    (tmp_path / "memory.events").write_text("low 0\noom 3\noom_kill 1\n")
    assert environment.memory_kills(tmp_path) == 1
