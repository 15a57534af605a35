"""Campaigns: runs of the real trainer, while what watches over them dies again and again.

They take minutes, hence ``make test-campaigns``. Every one ends with the same account: each run is
Complete, nothing was restarted that did not have to be, nothing is there twice, nothing is left.
"""

from __future__ import annotations

import os
import random
import signal
import time
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.cluster import install, kubectl, objects, outage, runs
from tests.cluster.controller import PATIENT_LEASE, Operator, alone, running

pytestmark = [pytest.mark.cluster, pytest.mark.campaign]

RUNS = int(os.environ.get("SID_CAMPAIGN_RUNS", "20"))
SEED = int(os.environ.get("SID_CAMPAIGN_SEED", "1"))
OUTAGE_SECONDS = 60.0
TAKEOVER_SECONDS = 20.0
SHORT_LEASE = (
    *("--lease-duration", "3", "--lease-renew-interval", "0.5"),
    *("--lease-renew-deadline", "2"),
)
"""Of an operator that is killed after some seconds anyway, and has to act before."""
CHILDREN = "configmaps,services,jobs"


def short(namespace: str, name: str, **spec: Any) -> dict[str, Any]:
    """A run of one pod and few iterations, of which only some fit onto the node at a time."""
    base = {
        "training": {"iterations": 4, "batchSize": 4},
        "checkpoint": {"everyIterations": 2},
        "evaluation": {"everyIterations": 4},
        "workers": {"nodes": 1, "resources": {"requests": {"cpu": "500m"}}},
    }
    return runs.digits(namespace, name, **runs.merged(base, spec))


def complete(namespace: str, names: list[str], *, seconds: float) -> None:
    """Wait until every run is Complete."""
    for name in names:
        runs.wait_for(namespace, name, "Complete", seconds=seconds)


def account(namespace: str, names: list[str], pods: int = 1) -> None:
    """Nothing was restarted, nothing is there twice, and the status tells it."""
    found = kubectl.get("-n", namespace, CHILDREN, "-l", "sid-dit.dev/distillation")["items"]
    owners = Counter(
        (child["kind"], child["metadata"]["labels"]["sid-dit.dev/distillation"]) for child in found
    )
    kinds = ("ConfigMap", "Service", "Job")
    assert owners == {(kind, name): 1 for kind in kinds for name in names}
    for name in names:
        status = runs.read(namespace, name)["status"]
        assert (status["phase"], status["restarts"]) == ("Succeeded", 0)
        assert status["progress"]["percent"] == 100
        assert "failure" not in status
        phases = [pod["status"]["phase"] for pod in runs.pods(namespace, name)]
        assert phases == ["Succeeded"] * pods
        told = Counter(reason for _, reason, _ in runs.events(namespace, name))
        assert told["Created"] == told["Succeeded"] == 1
        assert not told["Restored"] + told["Recreating"] + told["Failed"]


def leave_nothing(namespace: str) -> None:
    """What the runs were made of goes with them."""
    kubectl.kubectl("delete", "sid", "--all", "-n", namespace, "--wait", "--timeout=60s")

    def gone() -> bool:
        kinds = f"{CHILDREN},pods,endpointslices"
        left = kubectl.get("-n", namespace, kinds, "-l", "sid-dit.dev/distillation")
        return not left["items"]

    kubectl.wait_until("nothing of the runs is left", gone, seconds=120)


def test_runs_complete_while_the_operator_is_killed_at_random(space: str, tmp_path: Path) -> None:
    rng = random.Random(SEED)
    names = [f"run-{number:02d}" for number in range(RUNS)]
    kills = 0
    image = install.local_images()["trainer"]
    own = Operator(
        space, tmp_path / "operator.log", extra=("--default-image", image), lease=SHORT_LEASE
    )
    with alone(), running(own) as operator:
        operator.launch()
        for name in names:
            kubectl.apply(short(space, name))
        while not all(kubectl.is_true(runs.read(space, name), "Complete") for name in names):
            time.sleep(rng.uniform(0.0, 12.0))
            operator.end(signal.SIGKILL)
            kills += 1
            time.sleep(rng.uniform(0.0, 3.0))
            operator.launch()
        print(f"seed {SEED}: {RUNS} runs are Complete, the operator was killed {kills} times")
        account(space, names)
        leave_nothing(space)
    assert "Traceback" not in operator.told()


def test_a_standby_acts_within_20_seconds_of_a_kill(namespace: str, tmp_path: Path) -> None:
    """With the times that the operator has where nobody sets any."""
    with (
        alone(),
        running(Operator(namespace, tmp_path / "leader.log", lease=PATIENT_LEASE)) as leader,
        running(Operator(namespace, tmp_path / "standby.log", lease=PATIENT_LEASE)) as standby,
    ):
        leader.start()
        standby.launch()
        kubectl.wait_until(
            "the standby is there", lambda: "stands by" in standby.told(), seconds=60
        )
        leader.end(signal.SIGKILL)
        killed = time.monotonic()
        kubectl.apply(short(namespace, "run", workers={"image": "registry.invalid/none:1"}))
        kubectl.wait_until(
            "the Job is made",
            lambda: "Job/run" in runs.children(namespace, "run"),
            seconds=120,
            every=0.1,
        )
        took = time.monotonic() - killed
        print(f"taken over {took:.1f} s after the kill")
        assert took < TAKEOVER_SECONDS


def test_runs_go_on_while_the_api_server_is_away(space: str) -> None:
    install.main()
    names = [f"run-{uuid.uuid4().hex[:4]}" for _ in range(2)]
    longer = {
        "training": {"iterations": 300, "batchSize": 4},
        "checkpoint": {"everyIterations": 100},
        "evaluation": {"everyIterations": 300},
    }
    for name in names:
        kubectl.apply(short(space, name, **longer))
    for name in names:
        runs.wait_for_iteration(space, name, 20, seconds=300)
    with outage.without_api_server():
        time.sleep(OUTAGE_SECONDS)
    back = time.monotonic()
    before = {name: runs.read(space, name)["status"]["progress"]["iteration"] for name in names}

    def caught_up() -> bool:
        now = {name: runs.read(space, name)["status"]["progress"]["iteration"] for name in names}
        return all(now[name] > before[name] for name in names)

    kubectl.wait_until("the status catches up", caught_up, seconds=180)
    print(f"the status was true again {time.monotonic() - back:.0f} s after the API server was")
    complete(space, names, seconds=1200)
    account(space, names)
    leave_nothing(space)
    with objects.connect() as store:
        for name in names:
            claims = [
                key
                for key in store.names(f"distillations/{space}/{name}/metrics")
                if key.endswith("attempt.json")
            ]
            assert len(claims) == 1
