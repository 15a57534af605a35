"""The builders: what every child is, and what makes it another one."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from sid_operator.plan.resource import resource_of
from sid_operator.resources.cleanup import cleanup_job
from sid_operator.resources.config_map import config_map
from sid_operator.resources.job import job, policy_patch
from sid_operator.resources.metadata import policy_hash, run_hash
from sid_operator.resources.run import Installed, Run
from sid_operator.resources.service import service
from sid_trainer.config import RunConfig
from tests.unit.operator import world
from tests.unit.operator.built import ALL_SET, container, pod_spec


def test_the_config_map_is_what_the_trainer_reads() -> None:
    text = config_map(world.run())["data"]["config.yaml"]
    config = RunConfig.model_validate(yaml.safe_load(text))
    assert config.storage.uri == "s3://sid/runs/team/digits"
    assert config.launch.rendezvous_host == "digits-0.digits"
    assert (config.launch.nodes, config.launch.device) == (2, "cpu")


def test_every_child_has_owner_labels_and_hash() -> None:
    for build in (config_map, service, job):
        metadata = build(world.run())["metadata"]
        (owner,) = metadata["ownerReferences"]
        assert (owner["kind"], owner["uid"], owner["controller"]) == (
            "SiDDistillation",
            world.UID,
            True,
        )
        assert metadata["labels"]["sid-dit.dev/distillation"] == "digits"
        assert metadata["annotations"]["sid-dit.dev/hash"]


def test_no_child_goes_into_a_backup() -> None:
    """Brought back without their owner, Jobs would train, or empty a folder, by themselves."""
    for build in (config_map, service, job, cleanup_job):
        manifest = build(world.run())
        templates = [manifest["spec"]["template"]] if manifest["kind"] == "Job" else []
        for of in (manifest, *templates):
            assert of["metadata"]["labels"]["velero.io/exclude-from-backup"] == "true"


def test_the_job_is_a_gang() -> None:
    spec = job(world.run(**ALL_SET))["spec"]
    assert spec["completionMode"] == "Indexed"
    assert (spec["completions"], spec["parallelism"], spec["backoffLimit"]) == (4, 4, 8)
    assert spec["podReplacementPolicy"] == "Failed"
    assert spec["activeDeadlineSeconds"] == 3600
    fail, disrupted, ended = spec["podFailurePolicy"]["rules"]
    assert fail["action"] == "FailJob"
    assert fail["onExitCodes"]["values"] == list(range(64, 79))
    assert disrupted["onPodConditions"][0]["type"] == "DisruptionTarget"
    assert (ended["action"], ended["onExitCodes"]["values"]) == ("Ignore", [143])


def test_suspend_belongs_to_the_queue_where_there_is_one() -> None:
    queued = job(world.run(**ALL_SET))
    assert queued["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "q"
    assert "suspend" not in queued["spec"]
    assert "suspend" not in policy_patch(world.run(**ALL_SET), queued=True, by_pod=True)["spec"]
    # Kueue labels Jobs of resources that name no queue, where the namespace has a default one.
    assert "suspend" not in policy_patch(world.run(), queued=True, by_pod=True)["spec"]
    assert job(world.run())["spec"]["suspend"] is False
    patch = policy_patch(world.run(), queued=False, by_pod=True)
    assert patch["spec"]["activeDeadlineSeconds"] is None


def test_pods_are_restricted_and_get_no_service_account() -> None:
    spec = pod_spec(**ALL_SET)
    assert spec["securityContext"] == {
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert spec["containers"][0]["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert spec["automountServiceAccountToken"] is False
    for name in ("hostNetwork", "hostPID", "hostIPC", "serviceAccountName"):
        assert name not in spec
    assert not any("hostPath" in volume for volume in spec["volumes"])


def test_pods_of_one_job_know_each_other() -> None:
    """By the id that the Job controller puts on them: none of an earlier Job joins."""
    (entry,) = [entry for entry in container()["env"] if entry["name"] == "SID_GANG"]
    path = "metadata.labels['batch.kubernetes.io/controller-uid']"
    assert entry["valueFrom"] == {"fieldRef": {"fieldPath": path}}


def test_variables_are_taken_literally() -> None:
    given = [{"name": "NCCL_SOCKET_IFNAME", "value": "=eth0 $(HOME) $$ $"}]
    workers = world.raw()["spec"]["workers"]
    env = container(workers=workers | {"env": given})["env"]
    assert env[-1] == {"name": "NCCL_SOCKET_IFNAME", "value": "=eth0 $$(HOME) $$$$ $$"}
    assert env[:-1] == container()["env"]


def test_what_else_the_pods_bear_does_not_replace_the_operators() -> None:
    workers = world.raw()["spec"]["workers"]
    given = {
        "podLabels": {"team": "a", "scheduling.x-k8s.io/pod-group": "g"},
        "podAnnotations": {"sidecar.istio.io/inject": "false"},
        "runtimeClassName": "nvidia",
        "fsGroup": 2000,
    }
    template = job(world.run(workers=workers | given))["spec"]["template"]
    plain = job(world.run())["spec"]["template"]
    assert template["metadata"]["labels"] == plain["metadata"]["labels"] | given["podLabels"]
    assert template["metadata"]["annotations"] == given["podAnnotations"]
    assert template["spec"]["runtimeClassName"] == "nvidia"
    assert template["spec"]["securityContext"] == plain["spec"]["securityContext"] | {
        "fsGroup": 2000,
        "fsGroupChangePolicy": "OnRootMismatch",
    }
    assert "annotations" not in plain["metadata"]


BORNE: dict[str, Any] = {
    "labels": {"team": "red", "example.org/cost-centre": "7"},
    "annotations": {"example.org/contact": "red@example.org"},
}


@pytest.mark.parametrize("build", [config_map, service, job, cleanup_job])
def test_every_object_bears_the_users_labels_and_annotations(build: Any) -> None:
    plain, borne = (build(world.run(**spec)) for spec in ({}, BORNE))
    pairs = [(plain["metadata"], borne["metadata"])]
    if "template" in plain.get("spec", {}):
        pairs.append(tuple(one["spec"]["template"]["metadata"] for one in (plain, borne)))
    for before, after in pairs:
        assert after["labels"] == before["labels"] | BORNE["labels"]
        assert (
            after["annotations"].keys()
            == before.get("annotations", {}).keys() | BORNE["annotations"]
        )
        assert BORNE["annotations"].items() <= after["annotations"].items()
    hashes = {one["metadata"]["annotations"]["sid-dit.dev/hash"] for one in (plain, borne)}
    assert len(hashes) == 2, "what is there would not be changed"


def test_the_pods_own_labels_go_before_those_of_everything() -> None:
    workers = world.raw()["spec"]["workers"] | {"podLabels": {"team": "blue"}}
    made = job(world.run(workers=workers, **BORNE))
    assert made["metadata"]["labels"]["team"] == "red"
    assert made["spec"]["template"]["metadata"]["labels"]["team"] == "blue"


def of_class(name: str | None) -> Run:
    """A queued run of a class of Kueue's."""
    chosen = {} if name is None else {"workloadPriorityClass": name}
    return world.run(scheduling={"queueName": "q", **chosen})


def test_the_class_in_the_queue_is_told_to_the_queue_alone() -> None:
    made = job(of_class("urgent"))
    assert made["metadata"]["labels"]["kueue.x-k8s.io/priority-class"] == "urgent"
    assert "priorityClassName" not in made["spec"]["template"]["spec"]
    assert "urgent" not in str(made["spec"])


def test_another_class_is_given_to_the_job_that_is_there() -> None:
    """Kueue lets a Job have another class, but neither a first one while it runs, nor none."""
    none, low, high = (of_class(name) for name in (None, "low", "high"))
    assert run_hash(low) == run_hash(high)
    assert policy_hash(low) != policy_hash(high)
    patch = policy_patch(high, queued=True, by_pod=True)["metadata"]
    assert patch["labels"] == {"kueue.x-k8s.io/priority-class": "high"}
    assert run_hash(none) != run_hash(low)
    assert "labels" not in policy_patch(none, queued=True, by_pod=True)["metadata"]


@pytest.mark.parametrize(
    ("own", "pulled_with"), [([], ["everyone"]), ([{"name": "pull"}], ["pull"])]
)
def test_pull_secrets_of_the_installation_are_for_those_that_name_none(
    own: list[Any], pulled_with: list[str]
) -> None:
    raw = world.raw(workers={"nodes": 1, "gpusPerNode": 0, "imagePullSecrets": own})
    run = resource_of(raw, Installed(world.IMAGE, ("everyone",))).run
    assert run is not None
    for build in (job, cleanup_job):
        secrets = build(run)["spec"]["template"]["spec"]["imagePullSecrets"]
        assert secrets == [{"name": name} for name in pulled_with]


@pytest.mark.parametrize(
    ("changed", "same"),
    [
        ({"runPolicy": {"suspend": True}}, True),
        ({"student": {"steps": 4}}, True),  # the default, spelt out
        ({"student": {"steps": 2}}, False),
        ({"labels": {"team": "red"}}, False),
        ({"labels": {}, "annotations": {}}, True),
        ({"workers": {"nodes": 2, "gpusPerNode": 0, "image": "other:1"}}, False),
    ],
)
def test_the_hash_follows_what_the_pods_depend_on(changed: dict[str, Any], same: bool) -> None:
    assert (run_hash(world.run()) == run_hash(world.run(**changed))) is same


def test_manifests_are_json() -> None:
    for build in (config_map, service, job):
        json.dumps(build(world.run(**ALL_SET)))
