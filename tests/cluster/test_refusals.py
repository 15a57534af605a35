"""What stands in the way of a run's objects is told on the resource, and forgotten when it is gone.

A policy that denies Jobs, and a webhook that nobody serves, before the real API server.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.cluster import kubectl, life, minimal
from tests.cluster.control_plane.operator import complaints, operating
from tests.cluster.control_plane.plane import ControlPlane

pytestmark = pytest.mark.cluster

ADMISSION = "admissionregistration.k8s.io/v1"
RULES = [
    {
        "apiGroups": ["batch"],
        "apiVersions": ["v1"],
        "resources": ["jobs"],
        "operations": ["CREATE"],
    }
]
WORDS = "no Jobs on Fridays"


def here(namespace: str) -> dict[str, Any]:
    """Selects the one namespace."""
    return {"matchLabels": {"kubernetes.io/metadata.name": namespace}}


def policy(namespace: str) -> list[dict[str, Any]]:
    """A policy that denies Jobs in a namespace."""
    name = {"name": namespace}
    constraints = {"namespaceSelector": here(namespace), "resourceRules": RULES}
    validations = [{"expression": "false", "message": WORDS}]
    spec = {"matchConstraints": constraints, "validations": validations}
    binding = {"policyName": namespace, "validationActions": ["Deny"]}
    api = {"apiVersion": ADMISSION, "metadata": name}
    return [
        {**api, "kind": "ValidatingAdmissionPolicy", "spec": spec},
        {**api, "kind": "ValidatingAdmissionPolicyBinding", "spec": binding},
    ]


def webhook(namespace: str) -> list[dict[str, Any]]:
    """A webhook that is to be asked about Jobs in a namespace, where nobody listens."""
    asked = {
        "name": "nobody.example.org",
        "clientConfig": {"url": "https://127.0.0.1:1/"},
        "rules": RULES,
        "namespaceSelector": here(namespace),
        "failurePolicy": "Fail",
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
    }
    return [
        {
            "apiVersion": ADMISSION,
            "kind": "ValidatingWebhookConfiguration",
            "metadata": {"name": namespace},
            "webhooks": [asked],
        }
    ]


@dataclass(frozen=True)
class Obstacle:
    """Something in the way of Jobs.

    Attributes:
        documents: What makes it, for a namespace.
        words: Of the API server that must be told.
        remedy: What must be told besides.
    """

    documents: Any
    words: str
    remedy: str


OBSTACLES = {
    "policy": Obstacle(policy, WORDS, "ask its administrator about that rule"),
    "webhook": Obstacle(webhook, "nobody.example.org", "about that webhook"),
}


@pytest.fixture
def served(namespace: str, plane: ControlPlane, tmp_path: Path) -> Iterator[str]:
    """A namespace that the checkout's operator serves."""
    log = tmp_path / "log"
    with operating(plane, log, "--namespace", namespace, "--lease-namespace", namespace):
        yield namespace
    assert complaints(log) == []


@pytest.fixture(params=OBSTACLES)
def obstacle(request: pytest.FixtureRequest, served: str) -> Iterator[Obstacle]:
    """It is in force."""
    found = OBSTACLES[request.param]
    try:
        put(found, served)
        yield found
    finally:
        remove(found, served)


def put(obstacle: Obstacle, namespace: str) -> None:
    """Put it in the way; it is in force a moment after it was stored."""
    kubectl.apply(*obstacle.documents(namespace))
    kubectl.wait_until("Jobs are refused", lambda: obstacle.words in trial(namespace), seconds=180)


def trial(namespace: str) -> str:
    """What the API server says to a Job; "" where it would take it."""
    pod = {"restartPolicy": "Never", "containers": [{"name": "x", "image": "x"}]}
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "trial", "namespace": namespace},
        "spec": {"template": {"spec": pod}},
    }
    try:
        kubectl.kubectl("create", "--dry-run=server", "-f", "-", stdin=json.dumps(job))
    except kubectl.CommandError as error:
        return str(error)
    return ""


def remove(obstacle: Obstacle, namespace: str) -> None:
    """Take it away."""
    for document in reversed(obstacle.documents(namespace)):
        kubectl.kubectl("delete", document["kind"], namespace, "--ignore-not-found")


def accepted(namespace: str) -> dict[str, Any]:
    """The condition Accepted; empty before there is one."""
    return kubectl.condition(kubectl.get("sid", "run", "-n", namespace), "Accepted") or {}


def warnings(namespace: str) -> list[str]:
    """Messages of the Events that warn."""
    events = kubectl.get("events", "-n", namespace, "--field-selector", "type=Warning")["items"]
    return [event["message"] for event in events]


def test_it_is_told_with_its_remedy_and_forgotten_when_it_is_gone(
    obstacle: Obstacle, served: str
) -> None:
    kubectl.apply(minimal.resource(served, workers={"gpusPerNode": 0}))
    kubectl.wait_until("it is told", lambda: accepted(served).get("status") == "False", seconds=180)
    told = accepted(served)
    assert told["reason"] == "RefusedByApiServer"
    for word in ("Job run", obstacle.words, obstacle.remedy):
        assert word in told["message"]
    assert warnings(served) == [told["message"]]

    remove(obstacle, served)
    kubectl.wait_until("it is gone", lambda: not trial(served), seconds=180)
    kubectl.wait_until("it passed", lambda: accepted(served)["status"] == "True", seconds=180)
    resource = kubectl.get("sid", "run", "-n", served)
    assert "failure" not in resource["status"]
    assert kubectl.get("jobs", "-n", served)["items"]
    assert len(warnings(served)) == 1


@pytest.mark.parametrize("name", OBSTACLES)
def test_an_edit_that_is_refused_stops_nothing(name: str, served: str) -> None:
    """The new Job is asked for under the name of the old one."""
    obstacle = OBSTACLES[name]
    kubectl.apply(minimal.resource(served, workers={"gpusPerNode": 0}))
    kubectl.wait_until("the Job", lambda: jobs(served), seconds=180)
    (job,) = jobs(served)
    config = kubectl.get("configmap", "run-config", "-n", served)["metadata"]["resourceVersion"]
    put(obstacle, served)
    try:
        life.change(served, labels={"team": "red"})
        kubectl.wait_until(
            "it is told", lambda: accepted(served).get("status") == "False", seconds=180
        )
        told = accepted(served)["message"]
        assert obstacle.words in told
        assert told.endswith("goes on as it was before the change.")
        (kept,) = jobs(served)
        assert kept["metadata"]["uid"] == job["metadata"]["uid"]
        assert "deletionTimestamp" not in kept["metadata"]
        held = kubectl.get("configmap", "run-config", "-n", served)
        assert held["metadata"]["resourceVersion"] == config

        life.change(served, runPolicy={"suspend": True}, labels=None)
        kubectl.wait_until("it stands", lambda: jobs(served)[0]["spec"]["suspend"], seconds=180)
        life.change(served, runPolicy={"suspend": False}, labels={"team": "red"})
    finally:
        remove(obstacle, served)
    kubectl.wait_until(
        "the new Job",
        lambda: [one["metadata"]["labels"].get("team") for one in jobs(served)] == ["red"],
        seconds=360,
    )


def jobs(namespace: str) -> list[dict[str, Any]]:
    """The Jobs there."""
    found: list[dict[str, Any]] = kubectl.get("jobs", "-n", namespace)["items"]
    return found
