"""Digits runs for the end-to-end tests: the example's resource, shortened or broken on purpose."""

from __future__ import annotations

import json
import signal
import sys
from typing import Any

import yaml

from tests.cluster import kubectl, objects

INDEX = "batch.kubernetes.io/job-completion-index"
EXAMPLE = kubectl.REPOSITORY / "examples" / "distill-digits.yaml"


def merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """``base`` with ``changes`` laid over it, mappings merged, everything else replaced."""
    result = dict(base)
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(base.get(key), dict):
            result[key] = merged(base[key], value)
        else:
            result[key] = value
    return result


def digits(namespace: str, name: str, **spec: Any) -> dict[str, Any]:
    """The example's resource under another name, with ``spec`` laid over its spec."""
    manifest: dict[str, Any] = yaml.safe_load(EXAMPLE.read_text())
    return merged(manifest, {"metadata": {"name": name, "namespace": namespace}, "spec": spec})


def read(namespace: str, name: str) -> dict[str, Any]:
    """The resource as it is now."""
    return kubectl.get("sid", name, "-n", namespace)


def wait_for(namespace: str, name: str, kind: str, *, seconds: float) -> dict[str, Any]:
    """Wait until the condition of type ``kind`` is True; a failed run ends the wait."""

    def look() -> dict[str, Any] | None:
        resource = read(namespace, name)
        if kind != "Failed" and kubectl.is_true(resource, "Failed"):
            raise AssertionError(f"{name} failed: {resource['status']}")
        return resource if kubectl.is_true(resource, kind) else None

    return kubectl.wait_until(f"{name} is {kind}", look, seconds=seconds)


def wait_for_iteration(namespace: str, name: str, iteration: int, *, seconds: float) -> None:
    """Wait until the status tells that ``iteration`` was reached."""

    def look() -> bool:
        progress = read(namespace, name).get("status", {}).get("progress", {})
        return bool(progress.get("iteration", 0) >= iteration)

    kubectl.wait_until(f"{name} is at iteration {iteration}", look, seconds=seconds)


def children(namespace: str, name: str) -> list[str]:
    """Names of everything in the namespace that belongs to the resource."""
    kinds = "jobs,pods,services,configmaps,endpointslices"
    found = kubectl.get(kinds, "-n", namespace, "-l", f"sid-dit.dev/distillation={name}")
    return [f"{entry['kind']}/{entry['metadata']['name']}" for entry in found["items"]]


def pods(namespace: str, name: str) -> list[dict[str, Any]]:
    """The run's pods."""
    found = kubectl.get("pods", "-n", namespace, "-l", f"sid-dit.dev/distillation={name}")
    items: list[dict[str, Any]] = found["items"]
    return items


def describe(namespace: str, name: str) -> str:
    """What ``kubectl describe`` prints."""
    return kubectl.kubectl("describe", "sid", name, "-n", namespace)


def pod(namespace: str, name: str, index: int) -> dict[str, Any]:
    """The newest pod of an index."""
    own = pods(namespace, name)
    # A pod that only claims to be of the run has no index.
    found = [entry for entry in own if entry["metadata"]["labels"].get(INDEX) == str(index)]
    newest: dict[str, Any] = max(found, key=lambda p: p["metadata"]["creationTimestamp"])
    return newest


def events(namespace: str, name: str) -> list[tuple[str, str, str]]:
    """Type, reason and message of every Event of the resource."""
    selector = f"involvedObject.kind=SiDDistillation,involvedObject.name={name}"
    found = kubectl.get("events", "-n", namespace, "--field-selector", selector)["items"]
    return [(event["type"], event["reason"], event["message"]) for event in found]


def evict(namespace: str, pod: str) -> None:
    """Ask for a pod's eviction, as a drain of its node does."""
    eviction = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": pod, "namespace": namespace},
    }
    path = f"/api/v1/namespaces/{namespace}/pods/{pod}/eviction"
    kubectl.kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(eviction))


def workers(namespace: str, pod: str) -> list[int]:
    """Process ids, in the pod, of its training processes."""
    return [int(pid) for pid in _in_pod(namespace, pod, _FIND_WORKERS + "print(*workers)").split()]


def signal_worker(namespace: str, pod: str, number: signal.Signals) -> None:
    """Send a signal to the training processes of a pod, from inside the pod."""
    script = f"{_FIND_WORKERS}for pid in workers: os.kill(pid, {int(number)})"
    _in_pod(namespace, pod, script)


def _in_pod(namespace: str, pod: str, script: str) -> str:
    return kubectl.kubectl("exec", "-n", namespace, pod, "--", "python3", "-c", script)


_FIND_WORKERS = """
import os, pathlib
commands = {e: e.read_bytes() for e in pathlib.Path("/proc").glob("[0-9]*/cmdline")}
ours = [e for e, c in commands.items() if b"sid_trainer\\0worker" in c and b"agent" not in c]
workers = [int(e.parent.name) for e in ours]
"""


def first_iterations(namespace: str, name: str) -> list[int]:
    """First iteration that each attempt's metrics tell of, in the order of the attempts."""
    prefix = f"distillations/{namespace}/{name}/metrics"
    firsts: dict[str, int] = {}
    with objects.connect() as store:
        for key in (name for name in store.names(prefix) if name.endswith(".jsonl")):
            attempt = key.removeprefix(f"{prefix}/").split("/")[0]
            response = store.client.get_object(store.bucket, key)
            lines = [json.loads(line) for line in response.read().splitlines()]
            response.close()
            response.release_conn()
            first = min((line["iteration"] for line in lines), default=sys.maxsize)
            firsts[attempt] = min(first, firsts.get(attempt, sys.maxsize))
    return [firsts[attempt] for attempt in sorted(firsts)]


def image_that_is_there(name: str) -> str:
    """An image that the node has and whose reference has ``name`` in it."""
    (node,) = kubectl.get("nodes")["items"]
    names = [found for image in node["status"]["images"] for found in image["names"]]
    return str(next(found for found in names if "@" not in found and name in found))
