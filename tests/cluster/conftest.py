"""What the cluster tests share: a namespace of their own for each test, and the resource's API.

Rules: a test touches only the namespace that it was given, and the namespace goes with the test.
The cluster is the one of ``$KUBECONFIG``, or else the local one (see :mod:`tests.cluster.kubectl`).
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from tests.cluster import definition, kubectl


@pytest.fixture
def namespace() -> Iterator[str]:
    """A fresh namespace, deleted after the test together with all that is in it."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    kubectl.kubectl("create", "namespace", name)
    yield name
    kubectl.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture(scope="module")
def api_group() -> Iterator[None]:
    """The resource is served in the group of :mod:`tests.cluster.definition`."""
    definition.install()
    yield
    definition.remove()
