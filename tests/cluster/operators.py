"""The installed operator, out of the way while another one is tested."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from tests.cluster import kubectl
from tests.cluster.install import NAMESPACE, RELEASE

DEPLOYMENT = ("-n", NAMESPACE, "deployment", RELEASE)


@contextlib.contextmanager
def paused() -> Iterator[None]:
    """No installed operator acts within the block; one that was there acts after it."""
    replicas = 0
    with contextlib.suppress(kubectl.CommandError):
        replicas = kubectl.get(*DEPLOYMENT)["spec"]["replicas"]
    if replicas:
        _scale(0)
    try:
        yield
    finally:
        if replicas:
            _scale(replicas)


def _scale(replicas: int) -> None:
    kubectl.kubectl("scale", *DEPLOYMENT, f"--replicas={replicas}")
    kubectl.kubectl("rollout", "status", *DEPLOYMENT, "--timeout=120s")
    if not replicas:
        selector = f"app.kubernetes.io/instance={RELEASE}"
        kubectl.kubectl(
            *("wait", "pods", "-n", NAMESPACE, "-l", selector),
            *("--for=delete", "--timeout=60s"),
        )
