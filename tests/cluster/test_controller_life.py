"""A run from its first to its last child: controller, API server, Job controller and kubelet."""

from __future__ import annotations

import json
import signal
import time

import pytest
import yaml

from tests.cluster import kubectl
from tests.cluster.controller import Operator
from tests.cluster.idle_runs import (
    children,
    create,
    distillation,
    left,
    settled,
    wait_for_failure,
    wait_for_phase,
)

pytestmark = pytest.mark.cluster


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
    kubectl.wait_until("children and pods are gone", lambda: not left(namespace), seconds=90)


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
        return not kubectl.get("-n", namespace, "sid")["items"] and not left(namespace)

    kubectl.wait_until("the resource and its children are gone", gone, seconds=90)
    events = kubectl.get("-n", namespace, "events", "--field-selector=reason=Expired")["items"]
    assert len(events) == 1


def test_suspend_and_resume(namespace: str, operator: Operator) -> None:
    create(namespace, distillation("run"))
    settled(namespace, "run")
    for suspend, phase in ((True, "Suspended"), (False, "Starting")):
        patch = json.dumps({"spec": {"runPolicy": {"suspend": suspend}}})
        kubectl.kubectl("-n", namespace, "patch", "sid", "run", "--type=merge", "-p", patch)
        wait_for_phase(namespace, "run", phase)
        job = kubectl.get("-n", namespace, "job", "run")
        assert job["spec"]["suspend"] is suspend
