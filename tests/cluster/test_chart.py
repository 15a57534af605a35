"""The chart: lint, what it renders, and install, upgrade, uninstall on the real cluster."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from tests.cluster import install, kubectl

pytestmark = pytest.mark.cluster


def render(*arguments: str) -> list[dict[str, Any]]:
    text = kubectl.run("helm", "template", "release", str(install.CHART), *arguments)
    return [document for document in yaml.safe_load_all(text) if document]


def of_kind(documents: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [document for document in documents if document["kind"] == kind]


def as_kubernetes_reads(manifest: str) -> dict[str, Any]:
    """A manifest by Kubernetes' own parser: to it 2e-06 is a number, to PyYAML a text."""
    arguments = ("create", "--dry-run=client", "--validate=false", "-o", "json", "-f", "-")
    parsed: dict[str, Any] = json.loads(kubectl.kubectl(*arguments, stdin=manifest))
    return parsed


def test_lint_is_clean() -> None:
    assert "0 chart(s) failed" in kubectl.run("helm", "lint", "--strict", str(install.CHART))


def test_unknown_value_is_refused() -> None:
    with pytest.raises(kubectl.CommandError, match="replica"):
        render("--set", "replica=2")


def test_crd_is_the_generated_one() -> None:
    generated = kubectl.REPOSITORY / "crds" / "sid-dit.dev_siddistillations.yaml"
    rendered = kubectl.run(
        "helm", "template", "release", str(install.CHART), "--show-only", "templates/crd.yaml"
    )
    crd = as_kubernetes_reads(rendered)
    assert crd["spec"] == as_kubernetes_reads(generated.read_text())["spec"]
    assert crd["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"


def test_crd_can_be_left_out() -> None:
    assert not of_kind(render("--set", "crds.enabled=false"), "CustomResourceDefinition")


def test_operator_satisfies_the_restricted_level() -> None:
    [deployment] = of_kind(render(), "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    [container] = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_roles_hold_no_secret_and_no_wildcard() -> None:
    roles = of_kind(render(), "ClusterRole") + of_kind(render(), "Role")
    rules = [rule for role in roles for rule in role["rules"]]
    assert rules
    for rule in rules:
        assert "*" not in rule["resources"] + rule["verbs"] + rule["apiGroups"]
        assert "secrets" not in rule["resources"]


def test_one_watched_namespace_needs_no_cluster_wide_binding() -> None:
    documents = render("--set", "watchNamespace=red")
    assert not of_kind(documents, "ClusterRoleBinding")
    bound = {entry["metadata"]["namespace"] for entry in of_kind(documents, "RoleBinding")}
    assert "red" in bound


def test_upgrade_and_uninstall_keep_the_users_resources(namespace: str) -> None:
    resource = {
        "apiVersion": "sid-dit.dev/v1alpha1",
        "kind": "SiDDistillation",
        "metadata": {"name": "kept", "namespace": namespace},
        "spec": {
            "teacher": {"model": "s3://sid/teachers/digits"},
            "data": {"prompts": {"uri": "s3://sid/prompts/digits.txt"}},
            "checkpoint": {"bucket": "sid", "secretRef": {"name": "minio-credentials"}},
            "runPolicy": {"suspend": True},
        },
    }
    images = install.image_values(install.local_images())
    kubectl.apply(resource)
    try:
        install.install(*images, "--set", "podLabels.colour=green")
        pods = kubectl.get("pods", "-n", install.NAMESPACE, "-l", "colour=green")["items"]
        assert len(pods) == 1
        kubectl.run("helm", "uninstall", install.RELEASE, "-n", install.NAMESPACE, "--wait")
        assert kubectl.get("sid", "kept", "-n", namespace)["metadata"]["name"] == "kept"
        deployments = kubectl.get("deployments", "-n", install.NAMESPACE)["items"]
        assert not deployments
    finally:
        install.install(*images)
    kubectl.wait_until(
        "the new operator has seen the resource",
        lambda: kubectl.condition(kubectl.get("sid", "kept", "-n", namespace), "Accepted"),
        seconds=60,
    )
