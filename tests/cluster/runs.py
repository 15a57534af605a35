"""Digits runs for the end-to-end tests: the example's resource, shortened or broken on purpose."""

from __future__ import annotations

from typing import Any

import yaml

from tests.cluster import kubectl

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
