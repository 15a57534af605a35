"""Why a run does not begin: what the controller tells before a real API server and kubelet."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import pytest

from tests.cluster import kubectl
from tests.cluster.controller import Operator
from tests.cluster.idle_runs import (
    NO_SUCH_IMAGE,
    an_image_that_is_there,
    children,
    create,
    distillation,
    failure,
    settled,
    wait_for_failure,
)

pytestmark = pytest.mark.cluster


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
    assert "deepspeed.offload optimizer (27.5 GiB)" in described
    assert "Job" not in children(namespace)
    label_memory(gpu_node, "81559")
    settled(namespace, "flux")
    fits = kubectl.condition(kubectl.get("-n", namespace, "sid", "flux"), "FitsMemory")
    assert fits is not None
    assert (fits["status"], fits["reason"]) == ("True", "FitsBarely")


def test_a_missing_secret_is_told_and_cured(namespace: str, operator: Operator) -> None:
    present = os.environ.get("SID_TEST_IMAGE") or an_image_that_is_there()
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
    document = distillation("run", image=an_image_that_is_there())
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


@pytest.fixture
def runtime_class(namespace: str) -> Iterator[str]:
    """A RuntimeClass whose handler no node has."""
    name = f"{namespace}-runtime"
    kubectl.apply(
        {
            "apiVersion": "node.k8s.io/v1",
            "kind": "RuntimeClass",
            "metadata": {"name": name},
            "handler": "no-such-handler",
        }
    )
    yield name
    kubectl.kubectl("delete", "runtimeclass", name)


def test_what_only_events_tell_of_a_pod_is_told(
    namespace: str, runtime_class: str, operator: Operator
) -> None:
    """The words are the kubelet's and the claims' controller's."""
    claims = [{"name": "gpus", "resourceClaimTemplateName": "no-such-template"}]
    create(namespace, distillation("claims", nodes=1, resourceClaims=claims))
    create(namespace, distillation("runtime", nodes=1, runtimeClassName=runtime_class))
    text = wait_for_failure(namespace, "claims", "ResourceClaimMissing")
    assert 'resource claim template "no-such-template"' in text
    text = wait_for_failure(namespace, "runtime", "SandboxNotCreated", seconds=150)
    assert 'no runtime for "no-such-handler"' in text
    assert f'RuntimeClass "{runtime_class}"' in text


def _create_secret(namespace: str, **keys: str) -> None:
    literals = [f"--from-literal={key}={value}" for key, value in keys.items()]
    kubectl.kubectl("-n", namespace, "create", "secret", "generic", "credentials", *literals)


def test_a_wrong_image_is_told_and_may_be_corrected_in_place(
    namespace: str, operator: Operator
) -> None:
    create(namespace, distillation("run"))
    text = wait_for_failure(namespace, "run", "ImagePullFailed")
    assert f'Image "{NO_SUCH_IMAGE}" cannot be pulled' in text
    assert "workers.image" in text
    old = children(namespace)["Job"]["metadata"]["uid"]
    create(namespace, distillation("run", image=an_image_that_is_there()))
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
