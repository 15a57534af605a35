"""Operators that are killed, frozen and started again, against the real API server."""

from __future__ import annotations

import json
import re
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from sid_operator.runtime.controller import LOST_LEADERSHIP_EXIT_CODE
from tests.cluster import kubectl
from tests.cluster.controller import Operator
from tests.cluster.idle_runs import create, distillation, settled

pytestmark = pytest.mark.cluster


def versions(namespace: str) -> dict[str, str]:
    """Resource versions of all that the operator writes."""
    kinds = "siddistillations,configmaps,services,jobs,events"
    return {
        f"{item['kind']}/{item['metadata']['name']}": item["metadata"]["resourceVersion"]
        for item in kubectl.get("-n", namespace, kinds)["items"]
        if item["kind"] != "Event" or item["source"].get("component") == "sid-operator"
    }


def all_is_written(namespace: str) -> bool:
    """Whether an operator that is made to look at each run twice more only tells that it looked."""
    before = written(namespace)
    for seconds in (3600, 7200):
        for run in runs(namespace):
            policy = {"spec": {"runPolicy": {"ttlSecondsAfterFinished": seconds}}}  # of no child
            target = ("-n", namespace, "sid", run["metadata"]["name"])
            kubectl.kubectl("patch", *target, "--type=merge", "-p", json.dumps(policy))
        kubectl.wait_until("the edit is seen", lambda: edits_are_seen(namespace), seconds=60)
    return written(namespace) == before


def runs(namespace: str) -> list[dict[str, Any]]:
    """All resources."""
    found: list[dict[str, Any]] = kubectl.get("-n", namespace, "sid")["items"]
    return found


def edits_are_seen(namespace: str) -> bool:
    """Whether each status, which is written last, is that of the present spec."""
    return all(
        run.get("status", {}).get("observedGeneration") == run["metadata"]["generation"]
        for run in runs(namespace)
    )


def written(namespace: str) -> tuple[Any, ...]:
    """What an operator has written, whichever edit it was written after."""
    others = {k: v for k, v in versions(namespace).items() if not k.startswith("SiDDistillation/")}
    told = [json.dumps(run.get("status"), sort_keys=True) for run in runs(namespace)]
    return others, [re.sub(r'"observedGeneration": \d+', "", status) for status in told]


def cleanup_job(namespace: str) -> dict[str, Any]:
    """The clean-up Job of the only resource that has one, or nothing."""
    selected = ("-l", "app.kubernetes.io/component=cleanup")
    found = kubectl.get("-n", namespace, "jobs", *selected)["items"]
    return found[0] if found else {}


def knows_itself(job: dict[str, Any]) -> bool:
    """Whether a clean-up Job is there, and bears its own uid."""
    metadata = job.get("metadata", {})
    return bool(job) and metadata["annotations"].get("sid-dit.dev/self") == metadata["uid"]


def test_the_bucket_is_cleaned_though_the_operator_was_away(
    namespace: str, operator: Operator
) -> None:
    owned = distillation("owned")
    owned["spec"]["deletionPolicy"] = "Delete"
    create(namespace, owned)
    kubectl.wait_until(
        "the clean-up waits", lambda: knows_itself(cleanup_job(namespace)), seconds=60
    )
    made = cleanup_job(namespace)["spec"]
    assert (made["suspend"], made["parallelism"]) == (True, 0)
    operator.end(signal.SIGKILL)
    kubectl.kubectl("-n", namespace, "delete", "sid", "owned", "--timeout=30s")
    operator.start()
    kubectl.wait_until(
        "the clean-up is let go",
        lambda: cleanup_job(namespace)["spec"]["parallelism"] == 1,
        seconds=60,
    )
    # Nor does the whole namespace wait for it, whose pod never gets its image.
    operator.end()
    kubectl.kubectl("delete", "namespace", namespace, "--timeout=90s")
    kubectl.kubectl("create", "namespace", namespace)  # which is the fixture's to delete


def test_a_killed_operator_writes_nothing_new_when_it_is_back(
    namespace: str, operator: Operator
) -> None:
    create(namespace, distillation("run"))
    settled(namespace, "run")
    kubectl.wait_until("all is written", lambda: all_is_written(namespace), seconds=120)
    operator.end(signal.SIGKILL)
    before = versions(namespace)
    operator.start()
    create(namespace, distillation("second"))  # served after the first, hence a barrier
    settled(namespace, "second")
    after = versions(namespace)
    assert {name: after[name] for name in before} == before
    assert not [n for n in after if n not in before and "second" not in n]


def test_a_standby_takes_over_from_a_killed_leader(
    namespace: str, operator: Operator, tmp_path: Path
) -> None:
    standby = Operator(namespace, tmp_path / "standby.log", extra=("--identity", "standby"))
    operator.end(signal.SIGKILL)
    started = time.monotonic()
    standby.start()
    assert time.monotonic() - started > 1  # the Lease had to run out
    assert standby.end() == 0
    lease = kubectl.get("-n", namespace, "lease", "sid-operator")
    assert lease["spec"]["holderIdentity"] == ""


def test_a_frozen_leader_that_wakes_up_acts_no_more(
    namespace: str, operator: Operator, tmp_path: Path
) -> None:
    create(namespace, distillation("run"))
    settled(namespace, "run")
    assert operator.process is not None
    operator.process.send_signal(signal.SIGSTOP)
    standby = Operator(namespace, tmp_path / "standby.log", extra=("--identity", "standby"))
    standby.start()
    # It finds all this, undone, in its watches when it wakes up.
    create(namespace, distillation("second"))
    kubectl.kubectl("-n", namespace, "delete", "configmap/run-config", "service/run")
    settled(namespace, "second")
    kubectl.wait_until("all is written", lambda: all_is_written(namespace), seconds=120)
    before = versions(namespace)

    operator.process.send_signal(signal.SIGCONT)
    assert operator.process.wait(timeout=60) == LOST_LEADERSHIP_EXIT_CODE
    operator.process = None
    assert versions(namespace) == before
    assert "no longer leads" in operator.told()
    assert standby.end() == 0
