"""The launcher with real torchrun agents and gloo groups on the loopback address."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from sid_trainer.checkpoint.attempts import claim_attempt, note_done
from sid_trainer.launch.processes import descendants
from sid_trainer.storage import FileStorage
from tests.loopback import free_port

HERE = Path(__file__).parent
DEADLINE = 300.0


def wait_until(condition: Callable[[], object], what: str, seconds: float = DEADLINE) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds:.0f} s"
        time.sleep(0.05)


@dataclass
class Gang:
    """The pods of one run, each a launcher process in a session of its own."""

    folder: Path
    nodes: int
    group_seconds: float = 90.0
    worker: str = "gang_worker.py"
    pods: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def control(self) -> Path:
        return self.folder / "control"

    def config(self) -> Path:
        self.control.mkdir(exist_ok=True)
        path = self.folder / "config.yaml"
        if not path.exists():
            (self.folder / "model_index.json").write_text('{"_class_name": "FluxPipeline"}')
            (self.folder / "prompts.txt").write_text("a prompt")
            launch = {"nodes": self.nodes, "device": "cpu", "rendezvousPort": free_port()}
            path.write_text(
                yaml.safe_dump(
                    {
                        "teacher": {"model": str(self.folder)},
                        "data": {"prompts": {"uri": str(self.folder / "prompts.txt")}},
                        "storage": {"uri": (self.folder / "run").as_uri()},
                        "training": {"batchSize": 12},
                        "launch": launch,
                    }
                )
            )
        return path

    def start(self, node: int, gang: str = "") -> subprocess.Popen[bytes]:
        environ = {
            **os.environ,
            "SID_GANG": gang,
            "JOB_COMPLETION_INDEX": str(node),
            "SID_TEST_CONTROL": str(self.control),
            "SID_TERMINATION_LOG": str(self.folder / f"termination-{len(self.pods)}"),
            "OMP_NUM_THREADS": "1",
        }
        pod = subprocess.Popen(
            [
                sys.executable,
                str(HERE / "pod.py"),
                str(self.config()),
                str(HERE / self.worker),
                str(self.group_seconds),
            ],
            env=environ,
            start_new_session=True,
        )
        self.pods.append(pod)
        return pod

    def record(self, pod: subprocess.Popen[bytes]) -> dict:
        return json.loads((self.folder / f"termination-{self.pods.index(pod)}").read_text())

    def workers(self, rank: int) -> list[int]:
        """Pids of all workers that have run as this rank, alive ones only."""
        pids = [int(p.name.split("-")[2]) for p in self.control.glob(f"started-{rank}-*")]
        return [pid for pid in pids if Path(f"/proc/{pid}").exists()]

    def formed(self) -> bool:
        return all(self.workers(rank) for rank in range(self.nodes))

    def finish(self) -> None:
        (self.control / "finish").touch()


@pytest.fixture
def gang(tmp_path: Path) -> Iterator[Callable[..., Gang]]:
    made: list[Gang] = []

    def make(nodes: int, **settings: Any) -> Gang:
        made.append(Gang(tmp_path, nodes, **settings))
        return made[-1]

    yield make
    for pod in (pod for one in made for pod in one.pods):
        if pod.poll() is None:
            pod.terminate()
            pod.wait(DEADLINE)


def test_all_pods_end_with_0_and_node_0_is_rank_0(gang: Callable[..., Gang]) -> None:
    run = gang(2)
    second = run.start(1)  # the order of arrival must not matter
    first = run.start(0)
    wait_until(run.formed, "a group")
    (note,) = run.control.glob("started-0-*")
    assert note.read_text() == "0"
    run.finish()
    assert (first.wait(DEADLINE), second.wait(DEADLINE)) == (0, 0)
    assert run.record(first)["state"] == "succeeded"


@pytest.mark.parametrize("lost", [0, 1])
def test_a_killed_worker_costs_its_own_pod_only(gang: Callable[..., Gang], lost: int) -> None:
    run = gang(2)
    pods = [run.start(0), run.start(1)]
    wait_until(run.formed, "a group")
    old = {rank: run.workers(rank) for rank in (0, 1)}

    os.kill(old[lost][0], signal.SIGKILL)

    assert pods[lost].wait(DEADLINE) == 1
    record = run.record(pods[lost])
    assert record["failure"]["reason"] == "Error"
    assert "SIGKILL" in record["failure"]["message"]
    replacement = run.start(lost)
    wait_until(
        lambda: run.formed() and all(run.workers(rank) != old[rank] for rank in (0, 1)),
        "a new group",
    )
    assert pods[1 - lost].poll() is None, "the pod that lost its peer must stay"
    run.finish()
    assert (replacement.wait(DEADLINE), pods[1 - lost].wait(DEADLINE)) == (0, 0)


def test_a_pod_that_vanishes_is_replaced(gang: Callable[..., Gang]) -> None:
    run = gang(2)
    first, second = run.start(0), run.start(1)
    wait_until(run.formed, "a group")
    old = run.workers(1)
    first.send_signal(signal.SIGTERM)
    assert first.wait(DEADLINE) == 143
    replacement = run.start(0)
    wait_until(lambda: run.formed() and run.workers(1) != old, "a new group")
    run.finish()
    assert (replacement.wait(DEADLINE), second.wait(DEADLINE)) == (0, 0)


def test_a_group_that_is_formed_anew_within_a_launch_may_load_for_long(
    gang: Callable[..., Gang],
) -> None:
    """A pod vanishes whole, and the others wait for it in a collective operation."""
    run = gang(2, worker="deaf_worker.py")
    survivor, lost = run.start(0), run.start(1)
    wait_until(lambda: _pulses(run), "a pulse of both")
    old = run.workers(0)
    _kill_whole(lost)
    replacement = run.start(1)
    run.finish()
    assert (survivor.wait(DEADLINE), replacement.wait(DEADLINE)) == (0, 0)
    assert not any(Path(f"/proc/{pid}").exists() for pid in old)


def test_the_replacement_of_a_failed_pod_is_met_whatever_the_others_do(
    gang: Callable[..., Gang],
) -> None:
    """One notices that it lost a peer, another waits for it in a collective operation."""
    run = gang(3, worker="deaf_worker.py")
    waiting, failing, following = (run.start(node) for node in range(3))
    wait_until(lambda: _pulses(run), "a pulse of all")
    (run.control / "fail-2").write_text("PeerLost")
    (run.control / "fail-1").write_text("crash")
    assert failing.wait(DEADLINE) == 1
    replacement = run.start(1)
    run.finish()
    assert [pod.wait(DEADLINE) for pod in (waiting, following, replacement)] == [0, 0, 0]


def _kill_whole(pod: subprocess.Popen[bytes]) -> None:
    """As the kernel does on a node that is gone: nobody has a last word."""
    for pid in (pod.pid, *descendants(pod.pid)):
        os.kill(pid, signal.SIGKILL)
    pod.wait(DEADLINE)


@pytest.mark.parametrize(
    ("order", "code", "reason"),
    [("NotFound", 66, "NotFound"), ("crash", 1, "Error")],
)
def test_the_cause_becomes_the_exit_code(
    gang: Callable[..., Gang], order: str, code: int, reason: str
) -> None:
    run = gang(1)
    pod = run.start(0)
    wait_until(run.formed, "a group")
    (run.control / "fail-0").write_text(order)
    assert pod.wait(DEADLINE) == code
    record = run.record(pod)
    assert record["state"] == "failed"
    assert record["failure"]["reason"] == reason
    assert record["failure"]["rank"] == 0


def test_sigterm_ends_workers_and_agent(gang: Callable[..., Gang]) -> None:
    run = gang(1)
    pod = run.start(0)
    wait_until(run.formed, "a group")
    workers = run.workers(0)
    pod.send_signal(signal.SIGTERM)
    assert pod.wait(25) == 143  # torchrun itself would give it 30 s
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)
    assert run.record(pod)["failure"]["reason"] == "Terminated"


def test_no_process_survives_a_killed_agent(gang: Callable[..., Gang]) -> None:
    run = gang(1)
    pod = run.start(0)
    wait_until(run.formed, "a group")
    (worker,) = run.workers(0)
    stat = Path(f"/proc/{worker}/stat").read_text()
    agent = int(stat.rpartition(")")[2].split()[1])
    os.kill(agent, signal.SIGKILL)
    assert pod.wait(DEADLINE) == 1
    assert not Path(f"/proc/{worker}").exists()


def test_a_group_that_never_forms_is_given_up(gang: Callable[..., Gang]) -> None:
    run = gang(2, group_seconds=5.0)
    pod = run.start(0)
    assert pod.wait(DEADLINE) == 80
    record = run.record(pod)
    assert record["failure"]["reason"] == "PeerLost"
    assert "no group of all nodes was formed within 5 s" in record["failure"]["message"]


@pytest.mark.parametrize("frozen", [0, 1])
def test_a_frozen_worker_ends_its_pod_and_the_gang_goes_on(
    gang: Callable[..., Gang], frozen: int
) -> None:
    """It can neither end itself nor be noticed by its agent: its pulse stays away."""
    run = gang(2)
    pods = [run.start(0), run.start(1)]
    wait_until(run.formed, "a group")
    wait_until(lambda: _pulses(run), "a pulse")
    (worker,) = run.workers(frozen)
    os.kill(worker, signal.SIGSTOP)
    assert pods[frozen].wait(DEADLINE) == 81
    failure = run.record(pods[frozen])["failure"]
    assert (failure["reason"], failure["rank"]) == ("Stalled", frozen)
    assert f"rank {frozen} gave no sign of life for 20 s" in failure["message"]
    assert not Path(f"/proc/{worker}").exists()
    replacement = run.start(frozen)
    wait_until(run.formed, "the next group")
    run.finish()
    assert (pods[1 - frozen].wait(DEADLINE), replacement.wait(DEADLINE)) == (0, 0)


def _pulses(run: Gang) -> bool:
    """Whether every worker has begun, before which it shows no pulse; no pod may have ended."""
    assert all(pod.poll() is None for pod in run.pods)
    return all((run.control / f"sums-{rank}").exists() for rank in range(run.nodes))


def test_a_pod_of_another_job_does_not_join(gang: Callable[..., Gang]) -> None:
    run = gang(2)
    straggler = run.start(1, gang="old-job")
    first = run.start(0, gang="new-job")
    second = run.start(1, gang="new-job")
    wait_until(run.formed, "a group")
    (worker,) = run.workers(1)
    assert second.pid == _launcher_of(worker)
    run.finish()
    assert (first.wait(DEADLINE), second.wait(DEADLINE)) == (0, 0)
    assert straggler.poll() is None


def _launcher_of(worker: int) -> int:
    """The launcher is the leader of the session in which its agent's parent lives."""
    agent = _parent(worker)
    return _parent(agent)


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_a_pod_that_was_replaced_does_not_join(gang: Callable[..., Gang]) -> None:
    """Its address is not among those of its peers any more."""
    run = gang(2, group_seconds=5.0)
    config = yaml.safe_load(run.config().read_text())
    config["launch"]["peersHost"] = "peers.invalid"
    run.config().write_text(yaml.safe_dump(config))
    pod = run.start(1)
    assert pod.wait(DEADLINE) == 80
    assert "no group of all nodes was formed within 5 s" in run.record(pod)["failure"]["message"]
    assert not list(run.control.glob("started-*"))


def test_a_pod_that_comes_when_all_is_done_is_done(gang: Callable[..., Gang]) -> None:
    """It replaces one that was lost between the last word of the run and its own end."""
    run = gang(2, group_seconds=5.0)
    run.config()
    storage = FileStorage(run.folder / "run")
    note_done(storage, claim_attempt(storage).attempt, "job")
    assert run.start(1, gang="job").wait(DEADLINE) == 0
    assert run.record(run.pods[0])["state"] == "succeeded"
    other = run.start(1, gang="other-job")
    claim_attempt(storage)
    same = run.start(1, gang="job")
    for pod in (other, same):  # a newer Job or attempt is not done: it waits for its peer
        assert pod.wait(DEADLINE) == 80
        assert "no group of all nodes was formed" in run.record(pod)["failure"]["message"]
    assert not list(run.control.glob("started-*"))


def test_a_wrong_configuration_ends_before_anything_starts(gang: Callable[..., Gang]) -> None:
    run = gang(1)
    config = yaml.safe_load(run.config().read_text())
    config["training"] = {"batchSiz": 3}
    run.config().write_text(yaml.safe_dump(config))
    began = time.monotonic()
    pod = run.start(0)
    assert pod.wait(DEADLINE) == 78
    assert time.monotonic() - began < 30
    assert not list(run.control.glob("started-*"))
    message = run.record(pod)["failure"]["message"]
    assert "training.batchSiz: unknown field; did you mean batchSize?" in message


def test_an_absent_teacher_is_told_before_anything_starts(gang: Callable[..., Gang]) -> None:
    run = gang(2)
    run.config()
    (run.folder / "model_index.json").unlink()
    pod = run.start(0)
    assert pod.wait(60) == 66
    assert not list(run.control.glob("started-*"))
    message = run.record(pod)["failure"]["message"]
    assert message.startswith("teacher.model: ")
    assert "model_index.json does not exist" in message
