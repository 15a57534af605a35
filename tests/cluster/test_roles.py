"""A run without a Secret: its bucket is opened by the role of its service account.

MinIO gives the role to tokens that the API server signs; the trainer asks it for keys, as it asks
the STS of AWS on EKS.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster import install, kubectl, objects, role_store, runs
from tests.cluster.controller import Operator, alone

pytestmark = pytest.mark.cluster


@pytest.fixture
def operator(namespace: str, tmp_path: Path) -> Iterator[Operator]:
    """The operator of the checkout."""
    with alone():
        running = Operator(namespace, tmp_path / "operator.log")
        running.start()
        yield running
        running.end()
        assert "Traceback" not in running.told()


@pytest.fixture
def store(namespace: str, teacher_folder: Path) -> Iterator[objects.Objects]:
    """The store, with a teacher and prompts in it, and the pods restricted."""
    restricted = "pod-security.kubernetes.io/enforce=restricted"
    kubectl.kubectl("label", "namespace", namespace, restricted)
    with role_store.store(namespace) as bucket:
        bucket.upload_folder(teacher_folder, "teachers/digits")
        prompts = kubectl.REPOSITORY / "examples" / "digits-prompts.txt"
        bucket.upload_file(prompts, "prompts/digits.txt")
        yield bucket


@pytest.fixture(scope="session")
def teacher_folder() -> Path:
    """The trained digits teacher."""
    from sid_trainer.digits.cache import cached_teacher  # noqa: PLC0415 - few tests need torch

    return cached_teacher()


def by_role(namespace: str) -> dict[str, Any]:
    """A short run of one pod that names a service account, and no Secret."""
    wanted = runs.digits(
        namespace,
        "by-role",
        training={"iterations": 4, "batchSize": 4},
        checkpoint={
            "endpoint": role_store.endpoint(namespace),
            "everyIterations": 2,
            "serviceAccountName": role_store.ACCOUNT,
        },
        evaluation={"everyIterations": 4},
        workers={
            "nodes": 1,
            "image": install.local_images()["trainer"],
            "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}},
        },
        deletionPolicy="Delete",
    )
    del wanted["spec"]["checkpoint"]["secretRef"]
    return wanted


@pytest.mark.usefixtures("operator")
def test_a_role_opens_the_bucket_to_a_run_and_to_its_clean_up(
    namespace: str, store: objects.Objects
) -> None:
    kubectl.apply(by_role(namespace))
    runs.wait_for(namespace, "by-role", "Complete", seconds=300)
    folder = f"distillations/{namespace}/by-role"
    assert store.names(f"{folder}/checkpoints/iter-00000004")
    assert f"{folder}/student/model_index.json" in store.names(f"{folder}/student")
    (container,) = runs.pod(namespace, "by-role", 0)["spec"]["containers"]
    given = {entry["name"] for entry in container["env"] if entry["name"].startswith("AWS_")}
    assert given == role_store.VARIABLES.keys()
    kubectl.kubectl("delete", "sid", "by-role", "-n", namespace, "--wait", "--timeout=60s")
    kubectl.wait_until("the folder is empty", lambda: not store.names(folder), seconds=180)
