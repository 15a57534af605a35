"""Nobody gains by creating a resource, nor stops the operator with one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.cluster import install, kubectl, life, minimal, permissions
from tests.cluster.control_plane import chart
from tests.cluster.control_plane.operator import complaints, operating
from tests.cluster.control_plane.plane import ControlPlane
from tests.cluster.controller import QUICK_LEASE

pytestmark = pytest.mark.cluster

USER = "author"
RESOURCE = {"apiGroups": ["sid-dit.dev"], "resources": ["siddistillations"], "verbs": ["*"]}
JOBS = {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["create"]}
CHILDREN = {"apiGroups": [""], "resources": ["services", "configmaps"], "verbs": ["create"]}
NO_CHILDREN = "you may not create"
NO_SECRET = "you may not read a Secret that the resource names"


def secrets(*names: str, verb: str = "get") -> dict[str, Any]:
    """A rule to read Secrets by name, or to use them."""
    return {"apiGroups": [""], "resources": ["secrets"], "resourceNames": names, "verbs": [verb]}


def manifest(namespace: str, **spec: Any) -> dict[str, Any]:
    """A suspended resource, so that nothing runs."""
    return minimal.resource(namespace, **{"runPolicy": {"suspend": True}, **spec})


@dataclass
class Author:
    """Somebody with some rights in a namespace."""

    namespace: str
    rules: list[dict[str, Any]] = field(default_factory=list)

    def may(self, *rules: dict[str, Any]) -> None:
        """Have exactly these rights besides those on the resource itself."""
        metadata = {"name": USER, "namespace": self.namespace}
        api = {"apiVersion": "rbac.authorization.k8s.io/v1", "metadata": metadata}
        reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": USER}
        kubectl.apply(
            {**api, "kind": "Role", "rules": [RESOURCE, *rules]},
            {
                **api,
                "kind": "RoleBinding",
                "roleRef": reference,
                "subjects": [{**reference, "kind": "User"}],
            },
        )
        self.rules = list(rules)

    def refusal(self, verb: str, document: dict[str, Any]) -> str:
        """What the API server says to the attempt; "" where it lets it pass."""
        try:
            kubectl.kubectl(
                *(verb, "--dry-run=server", f"--as={USER}", "-f", "-"), stdin=json.dumps(document)
            )
        except kubectl.CommandError as error:
            return str(error)
        return ""

    def wait_for(self, verb: str, document: dict[str, Any], words: str) -> None:
        """Try until the answer has these words; "" waits to be let pass.

        The authoriser learns of new roles a moment after they were stored.
        """

        def told() -> bool:
            said = self.refusal(verb, document)
            return words in said if words else not said

        kubectl.wait_until(f"{self.rules}: {words or 'it passes'}", told, seconds=180)


@pytest.fixture(scope="module", autouse=True)
def settings(plane: ControlPlane) -> tuple[str, ...]:
    """The chart is on a control plane of this module's own; gives the operator's settings."""
    kubectl.kubectl("create", "namespace", install.NAMESPACE)
    return chart.apply(install.NAMESPACE, {})


@pytest.fixture
def operator_log(plane: ControlPlane, settings: tuple[str, ...], tmp_path: Path) -> Iterator[Path]:
    """The log of the checkout's operator, which serves all namespaces under the chart's roles."""
    account = (install.NAMESPACE, install.RELEASE)
    config = chart.kubeconfig(plane, *account, tmp_path / "kubeconfig")
    with operating(plane, tmp_path / "log", *settings, kubeconfig=config) as operator:
        yield tmp_path / "log"
        assert operator.code is None, "the operator died"
    assert complaints(tmp_path / "log") == []


@pytest.fixture
def author(namespace: str) -> Author:
    """Somebody who may do nothing yet but work with the resource."""
    somebody = Author(namespace)
    somebody.may()
    return somebody


def test_who_may_not_create_what_the_operator_creates_is_refused(author: Author) -> None:
    document = manifest(author.namespace)
    author.wait_for("create", document, f"{NO_CHILDREN} jobs")
    author.may(JOBS, secrets("store"))
    author.wait_for("create", document, f"{NO_CHILDREN} services")
    author.may(CHILDREN, JOBS, secrets("store"))
    author.wait_for("create", document, "")


def test_a_service_account_takes_no_right_but_that_to_create_jobs(author: Author) -> None:
    """Whoever has it may give their pods any account of the namespace."""
    by_role = {"bucket": "sid", "serviceAccountName": "distiller"}
    document = manifest(author.namespace, checkpoint=by_role)
    author.may(CHILDREN)
    author.wait_for("create", document, f"{NO_CHILDREN} jobs")
    author.may(CHILDREN, JOBS)
    author.wait_for("create", document, "")


def bundle(kind: str) -> dict[str, Any]:
    """A checkpoint section with a CA bundle in an object of this kind, called ``bundle``."""
    return {
        "bucket": "sid",
        "endpoint": "https://store.example.org",
        "secretRef": {"name": "store"},
        "caBundleRef": {"kind": kind, "name": "bundle"},
    }


TOKEN = {"model": "organisation/model", "tokenSecretRef": {"name": "token"}}
MANY = [f"pull-{number}" for number in range(7)]
NAMED: dict[str, dict[str, Any]] = {
    "store": {},
    "token": {"teacher": TOKEN},
    "pull": {"workers": {"imagePullSecrets": [{"name": "pull"}]}},
    "bundle": {"checkpoint": bundle("Secret")},
    "last": {
        "teacher": TOKEN,
        "checkpoint": bundle("Secret"),
        "workers": {"imagePullSecrets": [{"name": name} for name in [*MANY, "last"]]},
    },
}
"""Changes of the resource by the Secret that they add; the last has as many as there can be."""
EVERY_SECRET = {*NAMED, *MANY}


@pytest.mark.parametrize("name", NAMED)
def test_who_may_not_read_a_named_secret_is_refused(author: Author, name: str) -> None:
    document = manifest(author.namespace, **NAMED[name])
    author.may(CHILDREN, JOBS, secrets(*(EVERY_SECRET - {name})))
    author.wait_for("create", document, NO_SECRET)
    author.may(CHILDREN, JOBS, secrets(*EVERY_SECRET))
    author.wait_for("create", document, "")


@pytest.mark.parametrize("name", ["store", "last"])
def test_who_may_use_the_named_secrets_need_not_read_them(author: Author, name: str) -> None:
    """The last has as many as there can be: so many questions must not be too many."""
    document = manifest(author.namespace, **NAMED[name])
    author.may(CHILDREN, JOBS, secrets(*(EVERY_SECRET - {name}), verb="use"))
    author.wait_for("create", document, NO_SECRET)
    author.may(CHILDREN, JOBS, secrets(*EVERY_SECRET, verb="use"))
    author.wait_for("create", document, "")


def test_who_may_not_read_a_named_config_map_is_refused(author: Author) -> None:
    document = manifest(author.namespace, checkpoint=bundle("ConfigMap"))
    author.may(CHILDREN, JOBS, secrets("store"))
    author.wait_for("create", document, "you may not read the ConfigMap")
    readable = {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["bundle"]}
    author.may(CHILDREN, JOBS, secrets("store"), {**readable, "verbs": ["get"]})
    author.wait_for("create", document, "")


def test_a_change_is_judged_like_a_creation_and_a_label_is_not(author: Author) -> None:
    document = manifest(author.namespace)
    kubectl.apply(document)
    labelled = {**document, "metadata": document["metadata"] | {"labels": {"a": "b"}}}
    author.wait_for("replace", labelled, "")
    longer = manifest(author.namespace, runPolicy={"suspend": True, "backoffLimit": 7})
    author.wait_for("replace", longer, NO_CHILDREN)
    author.may(CHILDREN, JOBS, secrets("store"))
    author.wait_for("replace", longer, "")
    other = manifest(
        author.namespace, checkpoint={"bucket": "sid", "secretRef": {"name": "of-somebody-else"}}
    )
    assert NO_SECRET in author.refusal("replace", other)


def test_who_may_neither_read_nor_use_its_secrets_may_suspend_a_run(author: Author) -> None:
    """But not have other programs run with them."""
    kubectl.apply(manifest(author.namespace))
    author.may(CHILDREN, JOBS)
    resumed = manifest(
        author.namespace, runPolicy={"suspend": False}, scheduling={"queueName": "team"}
    )
    author.wait_for("replace", resumed, "")
    changes: list[dict[str, Any]] = [
        {"workers": {"image": "registry.example.org/another:1"}},
        {"workers": {"env": [{"name": "HF_ENDPOINT", "value": "http://elsewhere"}]}},
        {"annotations": {"example.org/inject": "true"}},
        {"deletionPolicy": "Delete"},
    ]
    for change in changes:
        assert NO_SECRET in author.refusal("replace", manifest(author.namespace, **change)), change
    author.may(CHILDREN, JOBS, secrets("store", verb="use"))
    author.wait_for("replace", manifest(author.namespace, **changes[0]), "")


def test_a_resource_that_is_nested_thousands_of_levels_deep_stops_nobody(
    namespace: str, operator_log: Path
) -> None:
    levels = 1_500
    config = '{"a":' * levels + "1" + "}" * levels
    deep = manifest(namespace, deepspeed={"config": "DEEP"})
    path = f"/apis/{deep['apiVersion']}/namespaces/{namespace}/siddistillations"
    # kubectl's own parser would refuse it; the API server does not.
    body = json.dumps(deep).replace('"DEEP"', config)
    kubectl.kubectl("create", "--raw", path, "-f", "-", stdin=body)
    beside = manifest(namespace)
    beside["metadata"]["name"] = "beside"
    kubectl.apply(beside)
    kubectl.wait_until(
        "the one beside it is served", lambda: accepted(namespace, "beside") == "True", seconds=60
    )
    kubectl.wait_until(
        "the deep one is refused", lambda: accepted(namespace, "run") == "False", seconds=60
    )
    assert "nested" in kubectl.kubectl("describe", "sid", "run", "-n", namespace)


def accepted(namespace: str, name: str) -> str:
    """Status of the condition Accepted."""
    path = "jsonpath={.status.conditions[?(@.type=='Accepted')].status}"
    return kubectl.kubectl("get", "sid", name, "-n", namespace, "-o", path)


def test_one_namespace_is_served_without_any_cluster_wide_right(
    namespace: str, plane: ControlPlane, tmp_path: Path
) -> None:
    since = datetime.now(UTC)
    values = {"fullnameOverride": "only-here", "operator": {"logFormat": "json"}}
    settings = chart.apply(namespace, {"watchNamespace": namespace, **values})
    config = chart.kubeconfig(plane, namespace, "only-here", tmp_path / "kubeconfig")
    log = tmp_path / "log"
    with operating(plane, log, *settings, kubeconfig=config):
        life.whole(namespace)
    grants = permissions.granted(namespace, "only-here")
    user = permissions.account_name(namespace, "only-here")
    asked = permissions.requests(plane.audit, user, since)
    assert {grant.namespace for grant in grants} == {namespace}
    assert permissions.unused(grants, asked) == []
    assert permissions.refused(asked) == []
    told = [json.loads(line) for line in log.read_text().splitlines()]
    about = [line for line in told if line["logger"].endswith("recorder")]
    assert about
    assert {(line["namespace"], line["name"]) for line in about} == {(namespace, "run")}
    assert not [line for line in told if line["logger"].startswith("kopf")]


def test_a_refusal_counts_but_while_a_role_is_missing(
    namespace: str, plane: ControlPlane, tmp_path: Path
) -> None:
    since, name = datetime.now(UTC), "leaderless"
    user = permissions.account_name(namespace, name)
    values = {"watchNamespace": namespace, "fullnameOverride": name}
    settings = chart.apply(namespace, values)
    config = chart.kubeconfig(plane, namespace, name, tmp_path / "kubeconfig")

    def refused() -> list[str]:
        return permissions.refused(permissions.requests(plane.audit, user, since))

    with operating(plane, tmp_path / "log", *settings, *QUICK_LEASE, kubeconfig=config):
        assert refused() == []
        kubectl.kubectl("delete", "rolebinding", f"{name}-leader", "-n", namespace)
        kubectl.wait_until("the Lease is not renewed", refused, seconds=60)
    chart.apply(namespace, values)
    absent = permissions.absences(plane.audit, permissions.sources(namespace, name))
    asked = permissions.requests(plane.audit, user, since)
    assert permissions.refused(asked, absent) == []
    assert {one.until < permissions.FOREVER for one in absent} == {True}
