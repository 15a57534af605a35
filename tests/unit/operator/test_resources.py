"""The builders: what each child must be."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from sid_operator.plan.resource import resource_of
from sid_operator.resources.cleanup import cleanup_hash, cleanup_job
from sid_operator.resources.config_map import config_map
from sid_operator.resources.job import job, policy_patch
from sid_operator.resources.metadata import policy_hash, run_hash
from sid_operator.resources.run import Installed, Run
from sid_operator.resources.service import service
from sid_trainer.config import RunConfig
from tests.unit.operator import world

EXISTS = {"operator": "Exists"}
ALL_SET: dict[str, Any] = {
    "teacher": {"model": "a/b", "tokenSecretRef": {"name": "hub"}},
    "workers": {
        "nodes": 4,
        "gpusPerNode": 8,
        "image": world.IMAGE,
        "imagePullPolicy": "Always",
        "imagePullSecrets": [{"name": "pull"}],
        "resources": {"limits": {"cpu": 8, "memory": "64Gi"}},
        "nodeSelector": {"gpu": "h100"},
        "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}],
        "volumes": [{"name": "models", "claimName": "weights", "mountPath": "/mnt/models"}],
        "sharedMemory": "16Gi",
    },
    "scheduling": {"queueName": "q", "schedulerName": "other", "priorityClassName": "high"},
    "runPolicy": {"backoffLimit": 2, "activeDeadlineSeconds": 3600},
}


def pod_spec(**spec: Any) -> dict[str, Any]:
    found: dict[str, Any] = job(world.run(**spec))["spec"]["template"]["spec"]
    return found


def container(**spec: Any) -> dict[str, Any]:
    found: dict[str, Any] = pod_spec(**spec)["containers"][0]
    return found


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


def test_credentials_come_from_secrets_only() -> None:
    secrets = {
        entry["name"]: tuple(entry["valueFrom"]["secretKeyRef"].values())
        for entry in container(**ALL_SET)["env"]
        if "secretKeyRef" in entry.get("valueFrom", {})
    }
    assert secrets == {
        "AWS_ACCESS_KEY_ID": ("credentials", "accessKey"),
        "AWS_SECRET_ACCESS_KEY": ("credentials", "secretKey"),
        "AWS_SESSION_TOKEN": ("credentials", "sessionToken", True),
        "HF_TOKEN": ("hub", "token"),
    }
    names = {entry["name"] for entry in container()["env"]}
    assert "HF_TOKEN" not in names


RUN_HASH, CLEANUP_HASH = "fc55eba30d006fb1", "9b5d38a423552b5c"
BY_ROLE: dict[str, Any] = {
    "checkpoint": {"bucket": "sid", "prefix": "runs", "serviceAccountName": "trainer"}
}


@pytest.mark.parametrize("build", [job, cleanup_job])
def test_a_role_takes_the_place_of_the_secret_and_changes_nothing_else(build: Any) -> None:
    by_secret, by_role = (
        build(world.run(**spec))["spec"]["template"]["spec"] for spec in ({}, BY_ROLE)
    )
    assert by_role.pop("serviceAccountName") == "trainer"
    assert by_role["automountServiceAccountToken"] is False
    (container,), (other,) = by_role["containers"], by_secret["containers"]
    assert [entry for entry in other["env"] if entry not in container["env"]] == [
        entry for entry in other["env"] if entry["name"].startswith("AWS_")
    ]
    other["env"] = container["env"]
    assert by_role == by_secret


def test_other_credentials_are_another_job_and_keys_of_a_secret_the_same_as_ever() -> None:
    """The hashes that are in runs and clean-up Jobs which were made before there were roles."""
    runs = [world.run(), world.run(**BY_ROLE)]
    assert len({run_hash(run) for run in runs}) == len({cleanup_hash(run) for run in runs}) == 2
    assert (run_hash(runs[0]), cleanup_hash(runs[0])) == (RUN_HASH, CLEANUP_HASH)


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


def test_what_the_user_asks_of_nodes_is_passed_on() -> None:
    spec = pod_spec(**ALL_SET)
    assert spec["nodeSelector"] == {"gpu": "h100"}
    assert spec["tolerations"] == [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}]
    assert (spec["schedulerName"], spec["priorityClassName"]) == ("other", "high")
    assert spec["imagePullSecrets"] == [{"name": "pull"}]
    (trainer,) = spec["containers"]
    assert trainer["imagePullPolicy"] == "Always"
    assert trainer["resources"] == {"limits": {"cpu": "8", "memory": "64Gi", "nvidia.com/gpu": "8"}}
    assert trainer["args"] == ["launch", "--config", "/etc/sid/config.yaml"]
    mounts = {mount["mountPath"]: mount["name"] for mount in trainer["volumeMounts"]}
    assert mounts["/mnt/models"] == "claim-models"
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    assert volumes["shm"]["emptyDir"] == {"medium": "Memory", "sizeLimit": "16Gi"}
    assert set(mounts.values()) == set(volumes)


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


def test_devices_are_claimed_by_the_pod_and_given_to_the_trainer() -> None:
    claims = [
        {"name": "gpus", "resourceClaimTemplateName": "eight", "request": "whole"},
        {"name": "fabric", "resourceClaimName": "shared"},
    ]
    workers = {"gpusPerNode": 8, "gpuResource": "", "resourceClaims": claims, "image": world.IMAGE}
    spec = pod_spec(workers=workers, deletionPolicy="Delete")
    assert spec["resourceClaims"] == [
        {"name": "gpus", "resourceClaimTemplateName": "eight"},
        {"name": "fabric", "resourceClaimName": "shared"},
    ]
    (trainer,) = spec["containers"]
    assert trainer["resources"] == {
        "claims": [{"name": "gpus", "request": "whole"}, {"name": "fabric"}]
    }
    template = cleanup_job(world.run(workers=workers))["spec"]["template"]["spec"]
    assert "resourceClaims" not in template
    assert "resourceClaims" not in pod_spec()


def affinity(**spec: Any) -> dict[str, Any]:
    found: dict[str, Any] = pod_spec(**spec).get("affinity", {})
    return found


def test_pods_may_go_anywhere_unless_told() -> None:
    assert affinity() == {}


def test_labels_of_nodes_are_required() -> None:
    workers = world.raw()["spec"]["workers"]
    wanted = [{"key": "memory", "operator": "Gt", "values": ["79000"]}, {"key": "gpu"} | EXISTS]
    found = affinity(workers=workers | {"nodeAffinity": wanted})
    required = found["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    (term,) = required["nodeSelectorTerms"]
    assert term == {"matchExpressions": wanted}


@pytest.mark.parametrize("topology", ["Preferred", "Required"])
def test_pods_of_a_run_are_kept_together(topology: str) -> None:
    scheduling = {"topologyKey": "example.org/rack", "topology": topology, "queueName": "q"}
    found = affinity(scheduling=scheduling)["podAffinity"]
    (entry,) = found[f"{topology.lower()}DuringSchedulingIgnoredDuringExecution"]
    term = entry["podAffinityTerm"] if topology == "Preferred" else entry
    assert term["topologyKey"] == "example.org/rack"
    template = job(world.run(scheduling=scheduling))["spec"]["template"]
    selected = term["labelSelector"]["matchLabels"]
    assert selected.items() <= template["metadata"]["labels"].items(), "the run's own pods"
    assert template["metadata"]["annotations"] == {
        f"kueue.x-k8s.io/podset-{topology.lower()}-topology": "example.org/rack"
    }


def test_pods_without_gpus_ask_for_none() -> None:
    assert container()["resources"] == {}


def test_gpus_are_asked_for_by_the_name_that_the_nodes_give_them() -> None:
    slices = {"gpusPerNode": 1, "gpuResource": "nvidia.com/mig-3g.40gb", "image": world.IMAGE}
    assert container(workers=slices)["resources"] == {"limits": {"nvidia.com/mig-3g.40gb": "1"}}
    none = world.raw()["spec"]["workers"] | {"gpuResource": "amd.com/gpu"}
    assert container(workers=none)["resources"] == {}


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


CHECKPOINT = {
    "bucket": "sid",
    "endpoint": "https://minio.minio:9000",
    "secretRef": {"name": "credentials"},
}


def test_the_trainer_is_told_of_the_s3_server() -> None:
    changes = {
        "region": "eu-central-1",
        "addressing": "virtual",
        "caBundleRef": {"name": "authorities"},
    }
    text = config_map(world.run(checkpoint=CHECKPOINT | changes))["data"]["config.yaml"]
    told = RunConfig.model_validate(yaml.safe_load(text)).storage
    assert (told.endpoint, told.region, told.addressing, told.ca_bundle) == (
        "https://minio.minio:9000",
        "eu-central-1",
        "virtual",
        "/etc/sid-ca/ca.crt",
    )


@pytest.mark.parametrize("kind", ["ConfigMap", "Secret"])
def test_the_ca_bundle_is_one_file_mounted_read_only(kind: str) -> None:
    ref = {"kind": kind, "name": "authorities", "key": "internal.pem"}
    changes = {"checkpoint": CHECKPOINT | {"caBundleRef": ref}, "deletionPolicy": "Delete"}
    items = [{"key": "internal.pem", "path": "ca.crt"}]
    source = {
        "ConfigMap": {"configMap": {"name": "authorities", "items": items}},
        "Secret": {"secret": {"secretName": "authorities", "items": items}},
    }[kind]
    cleanup = cleanup_job(world.run(**changes))["spec"]["template"]["spec"]
    for pod in (pod_spec(**changes), cleanup):
        assert {"name": "ca-bundle", **source} in pod["volumes"]
        mount = {"name": "ca-bundle", "mountPath": "/etc/sid-ca", "readOnly": True}
        assert mount in pod["containers"][0]["volumeMounts"]
    arguments = cleanup["containers"][0]["args"]
    assert arguments[-2:] == ["--ca-bundle", "/etc/sid-ca/ca.crt"]


def test_without_a_ca_bundle_nothing_is_mounted() -> None:
    assert not [volume for volume in pod_spec()["volumes"] if volume["name"] == "ca-bundle"]
    assert "volumes" not in cleanup_job(world.run())["spec"]["template"]["spec"]
