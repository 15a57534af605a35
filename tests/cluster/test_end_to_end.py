"""The main job on the real cluster: distil, survive, explain, clean up.

Everything is real: operator from the chart, training pods under DeepSpeed ZeRO-3, MinIO.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cluster import install, kubectl, objects, runs

pytestmark = pytest.mark.cluster


def operator_pod() -> str:
    pods = kubectl.get("pods", "-n", install.NAMESPACE)["items"]
    return str(pods[0]["metadata"]["name"])


def test_distils_a_good_student_while_the_operator_is_killed(
    space: str, teacher: Path, tmp_path: Path
) -> None:
    kubectl.apply(runs.digits(space, "digits"))
    runs.wait_for_iteration(space, "digits", 50, seconds=300)
    kubectl.kubectl(
        "delete", "pod", operator_pod(), "-n", install.NAMESPACE, "--grace-period=0", "--force"
    )
    status = runs.wait_for(space, "digits", "Complete", seconds=1200)["status"]

    assert status["phase"] == "Succeeded"
    assert status["restarts"] == 0
    assert status["progress"]["percent"] == 100
    assert status["progress"]["iteration"] == status["progress"]["iterations"]
    with objects.connect() as store:
        assert store.names(f"distillations/{space}/digits/samples")
        assert store.names(f"distillations/{space}/digits/metrics")
        store.download_folder(f"distillations/{space}/digits/student", tmp_path / "student")
    command = [sys.executable, "-m", "sid_trainer", "digits", "evaluate"]
    command += ["--teacher", str(teacher), "--student", str(tmp_path / "student")]
    judged = subprocess.run(command, capture_output=True, text=True, check=False)
    print(judged.stdout)
    assert judged.returncode == 0, judged.stdout + judged.stderr

    kubectl.kubectl("delete", "sid", "digits", "-n", space, "--wait", "--timeout=60s")
    kubectl.wait_until(
        "nothing of the run is left", lambda: not runs.children(space, "digits"), seconds=90
    )


@pytest.mark.parametrize("index", [0, 1])
def test_resumes_when_a_pod_is_deleted(space: str, index: int) -> None:
    kubectl.apply(
        runs.digits(
            space,
            "resumed",
            training={"iterations": 120},
            checkpoint={"everyIterations": 20},
            evaluation={"everyIterations": 120},
        )
    )
    runs.wait_for_iteration(space, "resumed", 25, seconds=300)
    selector = f"sid-dit.dev/distillation=resumed,batch.kubernetes.io/job-completion-index={index}"
    kubectl.kubectl("delete", "pod", "-n", space, "-l", selector, "--wait=false")
    status = runs.wait_for(space, "resumed", "Complete", seconds=600)["status"]

    assert status["restarts"] == 1
    assert status["progress"]["iteration"] == 120
    assert status["checkpoint"]["iteration"] == 120
    # A pod that is told to end has what it is at stored, not only what was due.
    assert runs.first_iterations(space, "resumed")[1] > 25
    deletes_its_objects_with_it(space, "resumed")


def test_a_live_run_may_be_cut_short_and_given_other_memory(space: str) -> None:
    kubectl.apply(
        runs.digits(
            space,
            "changed",
            training={"iterations": 5000},
            checkpoint={"everyIterations": 10},
            evaluation={"everyIterations": 5000},
        )
    )
    runs.wait_for_iteration(space, "changed", 12, seconds=300)
    training = {"iterations": 60, "microBatchSize": 8, "gradientCheckpointing": True}
    patch_spec(space, "changed", {"training": training, "deepspeed": {"offload": "optimizer"}})
    status = runs.wait_for(space, "changed", "Complete", seconds=600)["status"]

    assert (status["progress"]["iteration"], status["progress"]["iterations"]) == (60, 60)
    assert status["checkpoint"]["iteration"] == 60
    assert runs.first_iterations(space, "changed")[1] > 12


def deletes_its_objects_with_it(namespace: str, name: str) -> None:
    """``deletionPolicy: Delete``, given at last, empties the run's folder once it is deleted."""
    folder = f"distillations/{namespace}/{name}"
    patch_spec(namespace, name, {"deletionPolicy": "Delete"})
    selector = f"sid-dit.dev/distillation={name},app.kubernetes.io/component=cleanup"
    kubectl.wait_until(
        "the clean-up Job is ready",
        lambda: kubectl.get("jobs", "-n", namespace, "-l", selector)["items"],
        seconds=180,
    )
    kubectl.kubectl("delete", "sid", name, "-n", namespace, "--wait", "--timeout=60s")
    with objects.connect() as store:
        kubectl.wait_until(f"{folder} is empty", lambda: not store.names(folder), seconds=180)


def patch_spec(namespace: str, name: str, spec: dict[str, Any]) -> None:
    patch = json.dumps({"spec": spec})
    kubectl.kubectl("patch", "sid", name, "-n", namespace, "--type=merge", "-p", patch)


MISTAKES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "secret": (
        {"checkpoint": {"secretRef": {"name": "no-such-secret"}}},
        ["no-such-secret", "Secret"],
    ),
    "image": (
        {"workers": {"image": "sid.local/no-such-image:1"}},
        ["sid.local/no-such-image:1", "image"],
    ),
    "teacher": (
        {"teacher": {"model": "s3://sid/teachers/no-such-teacher"}},
        ["s3://sid/teachers/no-such-teacher", "teacher.model"],
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_told_in_describe(space: str, mistake: str) -> None:
    changes, words = MISTAKES[mistake]
    kubectl.apply(runs.digits(space, mistake, **changes))

    def told() -> bool:
        text = runs.describe(space, mistake)
        return all(word in text for word in words) and "Warning" in text

    kubectl.wait_until(f"describe tells of the {mistake}", told, seconds=180)
    resource = runs.read(space, mistake)
    assert not kubectl.is_true(resource, "Complete")
    if mistake == "teacher":
        failed = runs.wait_for(space, mistake, "Failed", seconds=180)
        assert failed["status"]["failure"]["reason"] == "NotFound"
        patch_spec(space, mistake, {"runPolicy": {"ttlSecondsAfterFinished": 1}})
        kubectl.wait_until(
            "the resource is gone when its time is up",
            lambda: not kubectl.get("sid", "-n", space)["items"],
            seconds=180,
        )
