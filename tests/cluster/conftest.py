"""What the cluster tests share: a namespace of their own for each test, and the resource's API.

Rules: a test touches only the namespace that it was given, and the namespace goes with the test.
The cluster is the one of ``$KUBECONFIG``, or else the local one (see :mod:`tests.cluster.kubectl`).
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sid_operator.api import names
from sid_operator.crd.document import custom_resource_definition
from tests.cluster import definition, kubectl, objects
from tests.cluster.control_plane.plane import ControlPlane, running
from tests.cluster.controller import Operator, alone

CONTROLLERS = (
    "garbage-collector-controller",
    "job-controller",
    "namespace-controller",
    "resourcequota-controller",
    "serviceaccount-controller",
)
SESSION_START = datetime.now(UTC)
LAST = "test_permissions"
"""Module of the tests that judge what happened in all others."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests that come last, last."""
    items.sort(key=lambda item: item.path.stem == LAST)


@pytest.fixture
def session_start() -> datetime:
    """When this run of the tests began."""
    return SESSION_START


@pytest.fixture
def namespace() -> Iterator[str]:
    """A fresh namespace, deleted after the test together with all that is in it."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    kubectl.kubectl("create", "namespace", name)
    kubectl.wait_for_account(name)
    yield name
    kubectl.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture(scope="module")
def api_group() -> Iterator[None]:
    """The resource is served in the group of :mod:`tests.cluster.definition`."""
    definition.install()
    yield
    definition.remove()


@pytest.fixture(scope="module")
def no_other_operator() -> Iterator[None]:
    """The CRD is there, and no installed operator acts while the tests of a module do."""
    with alone():
        yield


@pytest.fixture
def operator(no_other_operator: None, namespace: str, tmp_path: Path) -> Iterator[Operator]:
    """An operator of the checkout that serves the namespace, and must not meet a bug of its own."""
    running = Operator(namespace, tmp_path / "operator.log")
    running.start()
    yield running
    if running.process is not None:
        running.end()
    assert "Traceback" not in running.told()


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A control plane without nodes, with the CRD; kubectl and helm of the module talk to it."""
    root = tmp_path_factory.mktemp("plane")
    with (
        running(root, controllers=CONTROLLERS) as started,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("KUBECONFIG", str(started.kubeconfig()))
        kubectl.apply(custom_resource_definition())
        kubectl.wait_established(names.CRD_NAME)
        yield started


@pytest.fixture(scope="session")
def teacher() -> Path:
    """The trained digits teacher, in MinIO together with its prompts."""
    from sid_trainer.digits.cache import cached_teacher  # noqa: PLC0415 - few tests need torch

    path = cached_teacher()
    with objects.connect() as store:
        store.upload_folder(path, "teachers/digits")
        store.upload_file(
            kubectl.REPOSITORY / "examples" / "digits-prompts.txt", "prompts/digits.txt"
        )
    return path


@pytest.fixture
def space(namespace: str, teacher: Path) -> Iterator[str]:
    """A namespace with MinIO credentials; what the runs wrote to MinIO is removed afterwards."""
    objects.copy_credentials(namespace)
    yield namespace
    with objects.connect() as store:
        store.remove_folder(f"distillations/{namespace}")
