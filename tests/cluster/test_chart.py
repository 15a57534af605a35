"""The chart: lint, what it renders, and install, upgrade, uninstall on the real cluster."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from sid_operator.resources.pod import pod_template
from sid_trainer.contract import PROGRESS_PORT
from tests.cluster import chart_readme, install, kubectl, minimal
from tests.unit.operator import world

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


EVERYTHING_ON = {
    "replicas": 2,
    "image": {"registry": "registry.example.org", "pullSecrets": ["pull"]},
    "trainer": {"image": {"pullSecrets": ["team", "everyone"]}},
    "operator": {"logFormat": "json"},
    "networkPolicy": {
        "enabled": True,
        "metricsFrom": [{"podSelector": {"matchLabels": {"app": "prometheus"}}}],
        "trainingNamespaces": ["default", "kube-public"],
    },
    "metrics": {
        "serviceMonitor": {"enabled": True, "labels": {"a": "b"}},
        "rules": {"enabled": True, "labels": {"a": "b"}},
        "dashboard": {"enabled": True},
    },
    "podAnnotations": {"a": "b"},
    "nodeSelector": {"a": "b"},
    "tolerations": [{"operator": "Exists"}],
    "affinity": {"nodeAffinity": {}},
    "priorityClassName": "system-cluster-critical",
}
EVERYTHING_OFF = {
    "crds": {"enabled": False},
    "rbac": {"create": False, "userRoles": False},
    "serviceAccount": {"create": False, "name": "default"},
    "admissionPolicy": {"enabled": False},
    "metrics": {"enabled": False},
}
ONE_NAMESPACE = {"watchNamespace": "default", "networkPolicy": {"enabled": True}}
SWITCHES = {"default": {}, "on": EVERYTHING_ON, "off": EVERYTHING_OFF, "one": ONE_NAMESPACE}
"""Values that are rendered and shown to the API server; namespaces in them exist everywhere."""

ANOTHER: dict[str, Any] = {
    "image.pullPolicy": "Never",
    "image.pullSecrets": ["other"],
    "trainer.image.pullSecrets": ["other"],
    "networkPolicy.apiServerPorts": [16443],
    "networkPolicy.metricsFrom": [{"namespaceSelector": {}}],
    "networkPolicy.trainingNamespaces": ["default"],
    "operator.logLevel": "DEBUG",
    "operator.logFormat": "text",
    "roomCheck.action": "Warn",
    "metrics.serviceMonitor.interval": "7s",
    "tolerations": [],
}
"""Other values than those of EVERYTHING_ON, where the kind of the value does not suggest one."""


def rendered_with(values: dict[str, Any], *arguments: str) -> str:
    """What helm renders with these values."""
    command = ("template", "release", str(install.CHART), "--namespace", "default", "-f", "-")
    return kubectl.run("helm", *command, *arguments, stdin=json.dumps(values))


def another(name: str, default: object) -> object:
    """A value that differs from the one in EVERYTHING_ON."""
    if name in ANOTHER:
        return ANOTHER[name]
    if isinstance(default, bool):
        enabled: object = EVERYTHING_ON
        for part in name.split("."):
            enabled = enabled.get(part, default) if isinstance(enabled, dict) else default
        return not enabled
    if isinstance(default, int):
        return default + 5
    return {"other": "value"} if isinstance(default, dict) else "other"


def with_value(values: dict[str, Any], name: str, value: object) -> dict[str, Any]:
    """The values with one of them replaced."""
    first, _, rest = name.partition(".")
    return values | {first: with_value(values.get(first, {}), rest, value) if rest else value}


@pytest.fixture(scope="module")
def everything_on() -> str:
    """What helm renders with every switch on."""
    return rendered_with(EVERYTHING_ON)


@pytest.mark.parametrize("values", SWITCHES.values(), ids=SWITCHES)
def test_the_api_server_would_take_what_is_rendered(values: dict[str, Any]) -> None:
    # As text: to Kubernetes 2e-06 is a number, to PyYAML it is not.
    documents = rendered_with(values).split("\n---\n")
    known = [one for one in documents if "apiVersion: monitoring.coreos.com/" not in one]
    assert known
    apply = ("apply", "--server-side", "--force-conflicts", "--dry-run=server", "-f", "-")
    kubectl.kubectl(*apply, "--validate=strict", stdin="\n---\n".join(known))


@pytest.mark.parametrize(
    "value",
    chart_readme.values((install.CHART / "values.yaml").read_text()),
    ids=lambda value: value.name,
)
def test_every_value_has_an_effect(value: chart_readme.Value, everything_on: str) -> None:
    changed = with_value(EVERYTHING_ON, value.name, another(value.name, value.default))
    if value.name == "serviceAccount.create":
        changed = with_value(changed, "serviceAccount.name", "mine")
    assert rendered_with(changed) != everything_on


def test_closed_training_pods_are_open_to_each_other_and_to_the_operator() -> None:
    documents = list(yaml.safe_load_all(rendered_with(EVERYTHING_ON)))
    policies = of_kind([one for one in documents if one], "NetworkPolicy")
    training = {
        policy["metadata"]["namespace"]: policy["spec"]
        for policy in policies
        if policy["metadata"]["name"].endswith("-training")
    }
    assert set(training) == {"default", "kube-public"}
    ranks, operator = training["default"]["ingress"]
    assert "ports" not in ranks
    assert ranks["from"] == [{"podSelector": training["default"]["podSelector"]}]
    assert operator["ports"] == [{"port": PROGRESS_PORT, "protocol": "TCP"}]
    assert training["default"]["policyTypes"] == ["Ingress"]


@pytest.mark.parametrize(
    ("values", "closed"),
    [
        ("networkPolicy.trainingNamespaces={red,blue}", {"red", "blue"}),
        ("watchNamespace=red,networkPolicy.enabled=true", {"red", "own"}),
        ("networkPolicy.enabled=true", {"own"}),
        ("watchNamespace=red", set()),
    ],
)
def test_policies_are_of_what_is_asked_for(values: str, closed: set[str]) -> None:
    """Of the operator where it is switched on; of training pods where namespaces are listed."""
    policies = of_kind(render("--namespace", "own", "--set", values), "NetworkPolicy")
    assert {policy["metadata"]["namespace"] for policy in policies} == closed


def test_the_policies_select_the_pods_that_the_operator_makes() -> None:
    documents = [one for one in yaml.safe_load_all(rendered_with(EVERYTHING_ON)) if one]
    spec = next(
        policy["spec"]
        for policy in of_kind(documents, "NetworkPolicy")
        if policy["metadata"]["name"].endswith("-training")
    )
    made = pod_template(world.run())["metadata"]["labels"]
    assert spec["podSelector"]["matchLabels"].items() <= made.items()
    (exists,) = spec["podSelector"]["matchExpressions"]
    assert exists["key"] in made


def test_lint_is_clean() -> None:
    assert "0 chart(s) failed" in kubectl.run("helm", "lint", "--strict", str(install.CHART))


def test_unknown_value_is_refused() -> None:
    with pytest.raises(kubectl.CommandError, match="replica"):
        render("--set", "replica=2")


def test_the_chart_may_be_a_conditional_dependency() -> None:
    """An umbrella chart's condition and tags arrive among the values."""
    assert render("--set", "enabled=true", "--set", "tags.sid=true")


@pytest.mark.parametrize("scraped", [True, False])
def test_alerts_are_about_the_operator_of_the_release(scraped: bool) -> None:
    """Which only the ServiceMonitor tells from others, by labels of its own."""
    values = f"metrics.rules.enabled=true,metrics.serviceMonitor.enabled={str(scraped).lower()}"
    (found,) = of_kind(render("--namespace", "red", "--set", values), "PrometheusRule")
    rules = {rule["alert"]: rule["expr"] for rule in found["spec"]["groups"][0]["rules"]}
    own = 'namespace="red",service="release-sid-operator-metrics"'
    of_operator = [text for text in rules.values() if "sid_operator_" in text]
    assert len(of_operator) == 4
    assert all((own in text) is scraped for text in of_operator)
    leading = f"sid_operator_leading{{{own}}}" if scraped else "sid_operator_leading"
    assert rules["SiDOperatorAbsent"] == f"absent({leading} == 1)"


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


def test_one_watched_namespace_needs_no_cluster_role() -> None:
    documents = render("--set", "watchNamespace=red")
    kinds = {document["kind"] for document in documents if "namespace" not in document["metadata"]}
    assert kinds == {
        "CustomResourceDefinition",
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
    }
    bound = {entry["metadata"]["namespace"] for entry in of_kind(documents, "RoleBinding")}
    assert "red" in bound


def test_a_release_without_anything_outside_of_namespaces() -> None:
    values = "watchNamespace=red,crds.enabled=false,admissionPolicy.enabled=false"
    assert all("namespace" in document["metadata"] for document in render("--set", values))


@pytest.mark.parametrize(
    ("values", "reads"),
    [
        ((), True),
        (("--set", "roomCheck.enabled=false"), False),
        (("--set", "watchNamespace=red"), False),
    ],
)
def test_nodes_are_read_where_the_room_is_checked(values: tuple[str, ...], reads: bool) -> None:
    documents = render(*values)
    roles = of_kind(documents, "ClusterRole") + of_kind(documents, "Role")
    granted = any("nodes" in rule["resources"] for role in roles for rule in role["rules"])
    [deployment] = of_kind(documents, "Deployment")
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    told = next(e["value"] for e in container["env"] if e["name"] == "SID_OPERATOR_READ_NODES")
    assert (granted, told) == (reads, str(reads).lower())


def test_upgrade_and_uninstall_keep_the_users_resources(namespace: str) -> None:
    images = install.image_values(install.local_images())
    kubectl.apply(minimal.resource(namespace, "kept", runPolicy={"suspend": True}))
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
