"""The controller from the checkout against the real API server, Job controller and kubelet.

The pods themselves need no trainer here: they wait for a Secret or an image, or fail to start. Runs
of the real trainer are tested elsewhere. An installed operator is paused meanwhile.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from sid_operator.runtime.controller import LOST_LEADERSHIP_EXIT_CODE
from tests.cluster import kubectl
from tests.cluster.controller import Operator, alone

pytestmark = pytest.mark.cluster

WITHIN_A_MINUTE = 60.0
NO_SUCH_IMAGE = "registry.invalid/sid-trainer:1.0"


def distillation(name: str, **workers: Any) -> dict[str, Any]:
    """A small resource; keyword arguments stand in spec.workers."""
    resources = {"requests": {"cpu": "10m", "memory": "16Mi"}}
    return {
        "apiVersion": "sid-dit.dev/v1alpha1",
        "kind": "SiDDistillation",
        "metadata": {"name": name},
        "spec": {
            "teacher": {"model": "s3://sid/teachers/none"},
            "data": {"prompts": {"uri": "s3://sid/prompts/none.txt"}},
            "training": {"iterations": 10, "batchSize": 4},
            "checkpoint": {"bucket": "sid", "secretRef": {"name": "credentials"}},
            "workers": {
                "nodes": 2,
                "gpusPerNode": 0,
                "image": NO_SUCH_IMAGE,
                "imagePullPolicy": "IfNotPresent",
                "sharedMemory": "16Mi",
                "resources": resources,
                **workers,
            },
        },
    }


@pytest.fixture(scope="module", autouse=True)
def _installed() -> Iterator[None]:
    """The CRD is there, and no installed operator acts."""
    with alone():
        yield


@pytest.fixture
def operator(namespace: str, tmp_path: Path) -> Iterator[Operator]:
    """A running operator, which must not have met a bug of its own."""
    running = Operator(namespace, tmp_path / "operator.log")
    running.start()
    yield running
    if running.process is not None:
        running.end()
    assert "Traceback" not in running.told()


def create(namespace: str, resource: dict[str, Any]) -> None:
    """Create a resource."""
    kubectl.kubectl("-n", namespace, "apply", "-f", "-", stdin=json.dumps(resource))


def status(namespace: str, name: str) -> dict[str, Any]:
    """The status of a resource."""
    found: dict[str, Any] = kubectl.get("-n", namespace, "sid", name).get("status", {})
    return found


def failure(namespace: str, name: str) -> str:
    """The reason in status.failure."""
    return str(status(namespace, name).get("failure", {}).get("reason", ""))


def wait_for_failure(
    namespace: str, name: str, reason: str, seconds: float = WITHIN_A_MINUTE
) -> str:
    """Wait until status.failure has this reason; gives what ``kubectl describe`` shows."""
    kubectl.wait_until(
        f"failure {reason}",
        lambda: failure(namespace, name) == reason,
        seconds=seconds,
    )
    return kubectl.kubectl("-n", namespace, "describe", "sid", name)


def wait_for_phase(namespace: str, name: str, phase: str) -> None:
    """Wait until status.phase is this."""
    kubectl.wait_until(
        f"phase {phase}", lambda: status(namespace, name).get("phase") == phase, seconds=60
    )


def children(namespace: str) -> dict[str, dict[str, Any]]:
    """All children by kind."""
    items = kubectl.get(
        *("-n", namespace, "configmaps,services,jobs"),
        *("-l", "sid-dit.dev/distillation", "--show-managed-fields"),
    )["items"]
    return {item["kind"]: item for item in items}


def versions(namespace: str) -> dict[str, str]:
    """Resource versions of all that the operator writes."""
    kinds = "siddistillations,configmaps,services,jobs,events"
    return {
        f"{item['kind']}/{item['metadata']['name']}": item["metadata"]["resourceVersion"]
        for item in kubectl.get("-n", namespace, kinds)["items"]
        if item["kind"] != "Event" or item["source"].get("component") == "sid-operator"
    }


def settled(namespace: str, name: str) -> None:
    """Wait until the status tells that the image is missing."""
    wait_for_failure(namespace, name, "ImagePullFailed")


def test_children_belong_to_the_resource_and_are_restored(
    namespace: str, operator: Operator
) -> None:
    create(namespace, distillation("run"))
    settled(namespace, "run")
    uid = kubectl.get("-n", namespace, "sid", "run")["metadata"]["uid"]
    before = children(namespace)
    assert set(before) == {"ConfigMap", "Service", "Job"}
    for child in before.values():
        (owner,) = child["metadata"]["ownerReferences"]
        assert (owner["uid"], owner["controller"]) == (uid, True)
        managers = {entry["manager"]: entry for entry in child["metadata"]["managedFields"]}
        assert managers["sid-operator"]["operation"] == "Apply"

    kubectl.kubectl("-n", namespace, "delete", "configmap/run-config", "service/run", "job/run")

    def restored() -> bool:
        now = children(namespace)
        return set(now) == set(before) and all(
            now[kind]["metadata"]["uid"] != before[kind]["metadata"]["uid"] for kind in now
        )

    kubectl.wait_until("the children are restored", restored, seconds=60)
    resource = kubectl.get("-n", namespace, "sid", "run")
    assert "finalizers" not in resource["metadata"]
    assert "Restored" in kubectl.kubectl("-n", namespace, "describe", "sid", "run")


def test_the_trainer_gets_every_text_as_it_was_written(namespace: str, operator: Operator) -> None:
    prompt = 'a 👩\u200d🚀, "quoted" \\ud83d\n\u2028\x7f é'
    resource = distillation("run")
    resource["spec"]["evaluation"] = {"prompts": [prompt]}
    create(namespace, resource)
    settled(namespace, "run")
    (text,) = children(namespace)["ConfigMap"]["data"].values()
    assert yaml.safe_load(text)["evaluation"]["prompts"] == [prompt]


def test_nothing_stays_behind_when_the_resource_goes(namespace: str, operator: Operator) -> None:
    create(namespace, distillation("run"))
    settled(namespace, "run")
    operator.end(signal.SIGKILL)
    started = time.monotonic()
    kubectl.kubectl("-n", namespace, "delete", "sid", "run", "--timeout=30s")
    assert time.monotonic() - started < 30
    kubectl.wait_until("children and pods are gone", lambda: not _left(namespace), seconds=90)


def _left(namespace: str) -> list[Any]:
    kinds = "configmaps,services,jobs,pods"
    found: list[Any] = kubectl.get("-n", namespace, kinds, "-l", "sid-dit.dev/distillation")[
        "items"
    ]
    return found


def test_a_resource_made_again_at_once_meets_nothing_of_the_earlier_one(
    namespace: str, operator: Operator
) -> None:
    create(namespace, distillation("run"))
    settled(namespace, "run")
    old = children(namespace)["Job"]["metadata"]["uid"]
    kubectl.kubectl("-n", namespace, "delete", "sid", "run")
    create(namespace, distillation("run"))
    uid = kubectl.get("-n", namespace, "sid", "run")["metadata"]["uid"]
    settled(namespace, "run")
    job = children(namespace)["Job"]
    assert job["metadata"]["ownerReferences"][0]["uid"] == uid
    pods = kubectl.get("-n", namespace, "pods")["items"]
    assert {pod["metadata"]["ownerReferences"][0]["uid"] for pod in pods} == {
        job["metadata"]["uid"]
    }
    assert job["metadata"]["uid"] != old
    described = kubectl.kubectl("-n", namespace, "describe", "sid", "run")
    assert "NameConflict" not in described
    assert "Restored" not in described


def test_a_run_past_its_deadline_fails_and_goes_when_its_time_is_up(
    namespace: str, operator: Operator
) -> None:
    late = distillation("late")
    late["spec"]["runPolicy"] = {"activeDeadlineSeconds": 5, "ttlSecondsAfterFinished": 20}
    create(namespace, late)
    described = wait_for_failure(namespace, "late", "DeadlineExceeded")
    assert "runPolicy.activeDeadlineSeconds (5)" in described

    def gone() -> bool:
        return not kubectl.get("-n", namespace, "sid")["items"] and not _left(namespace)

    kubectl.wait_until("the resource and its children are gone", gone, seconds=90)
    events = kubectl.get("-n", namespace, "events", "--field-selector=reason=Expired")["items"]
    assert len(events) == 1


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


@pytest.fixture
def gpu_node() -> Iterator[str]:
    """A node that has, for Kubernetes, eight GPUs of 40 GiB: a label and an extended resource."""
    name = str(kubectl.get("nodes")["items"][0]["metadata"]["name"])

    def counted(gpus: str | None) -> str:
        amounts = {"nvidia.com/gpu": gpus}
        return json.dumps({"status": {"capacity": amounts, "allocatable": amounts}})

    patch = ("patch", "node", name, "--subresource=status", "--type=merge", "-p")
    kubectl.kubectl(*patch, counted("8"))
    label_memory(name, "40960")
    yield name
    kubectl.kubectl("label", "node", name, "nvidia.com/gpu.memory-")
    kubectl.kubectl(*patch, counted(None))


def label_memory(node: str, mebibytes: str) -> None:
    """Let a node tell the memory of its GPUs."""
    kubectl.kubectl("label", "node", node, "--overwrite", f"nvidia.com/gpu.memory={mebibytes}")


def test_a_run_too_large_for_the_nodes_gpus_takes_none(
    namespace: str, gpu_node: str, operator: Operator
) -> None:
    flux = distillation("flux", nodes=1, gpusPerNode=8)
    flux["spec"]["teacher"]["model"] = "black-forest-labs/FLUX.1-dev"
    flux["spec"]["training"] = {"iterations": 10, "batchSize": 8}
    create(namespace, flux)
    described = wait_for_failure(namespace, "flux", "TooLargeForGPUs")
    assert "has 40.0 GiB" in described
    assert "deepspeed.offload optimizer (27.4 GiB)" in described
    assert "Job" not in children(namespace)
    label_memory(gpu_node, "81559")
    settled(namespace, "flux")
    fits = kubectl.condition(kubectl.get("-n", namespace, "sid", "flux"), "FitsMemory")
    assert fits is not None
    assert (fits["status"], fits["reason"]) == ("True", "FitsBarely")


def test_a_killed_operator_writes_nothing_new_when_it_is_back(
    namespace: str, operator: Operator
) -> None:
    create(namespace, distillation("run"))
    settled(namespace, "run")
    kubectl.wait_until("quiet", lambda: _quiet(namespace), seconds=60)
    operator.end(signal.SIGKILL)
    before = versions(namespace)
    operator.start()
    create(namespace, distillation("second"))  # served after the first, hence a barrier
    settled(namespace, "second")
    after = versions(namespace)
    assert {name: after[name] for name in before} == before
    assert not [n for n in after if n not in before and "second" not in n]


def _quiet(namespace: str) -> bool:
    before = versions(namespace)
    time.sleep(3)
    return versions(namespace) == before


def test_a_missing_secret_is_told_and_cured(namespace: str, operator: Operator) -> None:
    present = os.environ.get("SID_TEST_IMAGE") or _an_image_that_is_there()
    create(namespace, distillation("run", image=present))
    text = wait_for_failure(namespace, "run", "SecretNotFound")
    assert f'Secret "credentials" is not in namespace "{namespace}"' in text
    assert "checkpoint.secretRef" in text
    assert "Warning" in text
    _create_secret(namespace, accessKey="a")
    text = wait_for_failure(namespace, "run", "SecretKeyNotFound")
    assert 'has no key "secretKey"' in text
    kubectl.kubectl("-n", namespace, "delete", "secret", "credentials")
    _create_secret(namespace, accessKey="a", secretKey="b")
    kubectl.wait_until(
        "the containers are made",
        lambda: failure(namespace, "run") not in ("SecretNotFound", "SecretKeyNotFound"),
        seconds=150,
    )


def test_a_missing_ca_bundle_is_told_and_cured(namespace: str, operator: Operator) -> None:
    document = distillation("run", image=_an_image_that_is_there())
    document["spec"]["checkpoint"] |= {
        "endpoint": "https://store.invalid",
        "caBundleRef": {"name": "authorities"},
    }
    create(namespace, document)
    text = wait_for_failure(namespace, "run", "CaBundleNotFound")
    assert f'ConfigMap "authorities" is not in namespace "{namespace}"' in text
    assert "checkpoint.caBundleRef" in text
    literal = "--from-literal=ca.crt=any"
    kubectl.kubectl("-n", namespace, "create", "configmap", "authorities", literal)
    # It is mounted now, and the container needs the Secret next.
    wait_for_failure(namespace, "run", "SecretNotFound", seconds=150)


def _create_secret(namespace: str, **keys: str) -> None:
    literals = [f"--from-literal={key}={value}" for key, value in keys.items()]
    kubectl.kubectl("-n", namespace, "create", "secret", "generic", "credentials", *literals)


def _an_image_that_is_there() -> str:
    """Any image that the node has; its program does not matter."""
    (node,) = kubectl.get("nodes")["items"]
    names = [name for image in node["status"]["images"] for name in image["names"]]
    return str(next(name for name in names if "@" not in name and "pause" in name))


def test_a_wrong_image_is_told_and_may_be_corrected_in_place(
    namespace: str, operator: Operator
) -> None:
    create(namespace, distillation("run"))
    text = wait_for_failure(namespace, "run", "ImagePullFailed")
    assert f'Image "{NO_SUCH_IMAGE}" cannot be pulled' in text
    assert "workers.image" in text
    old = children(namespace)["Job"]["metadata"]["uid"]
    create(namespace, distillation("run", image=_an_image_that_is_there()))
    kubectl.wait_until(
        "the Job is replaced",
        lambda: children(namespace).get("Job", {}).get("metadata", {}).get("uid", old) != old,
        seconds=90,
    )
    wait_for_failure(namespace, "run", "SecretNotFound")


def test_pods_that_the_namespace_refuses_are_told(namespace: str, operator: Operator) -> None:
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "none", "namespace": namespace},
        "spec": {"hard": {"pods": "0"}},
    }
    kubectl.apply(quota)
    create(namespace, distillation("run"))
    text = wait_for_failure(namespace, "run", "PodsNotCreated")
    assert "exceeded quota" in text


def test_a_service_account_that_is_missing_is_told_and_its_pods_follow(
    namespace: str, operator: Operator
) -> None:
    kubectl.kubectl(
        "label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted"
    )
    wanted = distillation("run")
    wanted["spec"]["checkpoint"] = {"bucket": "sid", "serviceAccountName": "with-a-role"}
    create(namespace, wanted)
    text = wait_for_failure(namespace, "run", "ServiceAccountNotFound")
    assert "checkpoint.serviceAccountName" in text
    kubectl.kubectl("-n", namespace, "create", "serviceaccount", "with-a-role")
    wait_for_failure(namespace, "run", "ImagePullFailed", seconds=150)
    pods = kubectl.get("-n", namespace, "pods")["items"]
    assert len(pods) == 2
    for pod in pods:
        assert pod["spec"]["serviceAccountName"] == "with-a-role"
        assert not [volume for volume in pod["spec"]["volumes"] if "projected" in volume]
        (container,) = pod["spec"]["containers"]
        assert not [one for one in container["env"] if one["name"].startswith("AWS_")]


def test_pods_that_no_node_can_take_are_told(namespace: str, operator: Operator) -> None:
    huge = {"requests": {"cpu": "900", "memory": "16Mi"}}
    create(namespace, distillation("run", resources=huge))
    text = wait_for_failure(namespace, "run", "Unschedulable")
    assert "Insufficient cpu" in text


def test_training_pods_satisfy_the_restricted_level(namespace: str, operator: Operator) -> None:
    kubectl.kubectl(
        "label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted"
    )
    create(namespace, distillation("run"))
    settled(namespace, "run")


def test_a_foreign_object_of_the_name_is_not_touched(namespace: str, operator: Operator) -> None:
    kubectl.kubectl("-n", namespace, "create", "configmap", "run-config", "--from-literal=a=1")
    create(namespace, distillation("run"))
    text = wait_for_failure(namespace, "run", "NameConflict")
    assert "ConfigMap run-config exists" in text
    foreign = kubectl.get("-n", namespace, "configmap", "run-config")
    assert foreign["data"] == {"a": "1"}
    assert "ownerReferences" not in foreign["metadata"]
    kubectl.kubectl("-n", namespace, "delete", "configmap", "run-config")
    settled(namespace, "run")


def test_suspend_and_resume(namespace: str, operator: Operator) -> None:
    create(namespace, distillation("run"))
    settled(namespace, "run")
    for suspend, phase in ((True, "Suspended"), (False, "Starting")):
        patch = json.dumps({"spec": {"runPolicy": {"suspend": suspend}}})
        kubectl.kubectl("-n", namespace, "patch", "sid", "run", "--type=merge", "-p", patch)
        wait_for_phase(namespace, "run", phase)
        job = kubectl.get("-n", namespace, "job", "run")
        assert job["spec"]["suspend"] is suspend


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
    kubectl.wait_until("quiet", lambda: _quiet(namespace), seconds=60)
    before = versions(namespace)

    operator.process.send_signal(signal.SIGCONT)
    assert operator.process.wait(timeout=60) == LOST_LEADERSHIP_EXIT_CODE
    operator.process = None
    assert versions(namespace) == before
    assert "no longer leads" in operator.told()
    assert standby.end() == 0
