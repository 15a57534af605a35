"""The spec as the trainer's configuration: a pure function, whose result is the ConfigMap's file.

Rule: it never sees or writes a secret; credentials reach the pods as environment variables that
Kubernetes fills from the Secrets named in the spec.
"""

from __future__ import annotations

from sid_operator.api.names import rendezvous_host
from sid_operator.api.spec import CheckpointSpec, SiDDistillationSpec
from sid_operator.api.workers import WorkersSpec
from sid_trainer.config import (
    CheckpointConfig,
    LaunchConfig,
    RunConfig,
    StorageConfig,
    TeacherConfig,
    TrainerSections,
)
from sid_trainer.contract import CA_BUNDLE_PATH, PROGRESS_PORT, RENDEZVOUS_PORT

ANY_ADDRESS = "0.0.0.0"  # noqa: S104 - inside the pod's own network namespace
"""Where rank 0 serves its progress: the operator asks at the pod's IP."""


def storage_uri(checkpoint: CheckpointSpec, namespace: str, name: str) -> str:
    """Folder of the run: ``s3://BUCKET[/PREFIX]/NAMESPACE/NAME``."""
    parts = (checkpoint.bucket, checkpoint.prefix, namespace, name)
    return "s3://" + "/".join(part for part in parts if part)


def _launch(workers: WorkersSpec, name: str) -> LaunchConfig:
    return LaunchConfig(
        nodes=workers.nodes,
        processes_per_node=workers.processes_per_node,
        device="cuda" if workers.gpus_per_node else "cpu",
        rendezvous_host=rendezvous_host(name),
        peers_host=name,  # the headless Service
        rendezvous_port=RENDEZVOUS_PORT,
        progress_host=ANY_ADDRESS,
        progress_port=PROGRESS_PORT,
        grace_seconds=workers.termination_grace_period_seconds,
    )


def run_config(spec: SiDDistillationSpec, namespace: str, name: str) -> RunConfig:
    """Render the trainer's configuration of the resource ``namespace/name``.

    Raises:
        pydantic.ValidationError: a rule across sections does not hold (``training.batchSize`` is
            not a multiple of the training processes). The API server refuses such resources.
    """
    shared = {field: getattr(spec, field) for field in TrainerSections.model_fields}
    teacher, checkpoint = spec.teacher, spec.checkpoint
    return RunConfig(
        **shared,
        name=name,
        teacher=TeacherConfig(**{f: getattr(teacher, f) for f in TeacherConfig.model_fields}),
        storage=StorageConfig(
            uri=storage_uri(checkpoint, namespace, name),
            endpoint=checkpoint.endpoint,
            region=checkpoint.region,
            addressing=checkpoint.addressing,
            ca_bundle=None if checkpoint.ca_bundle_ref is None else CA_BUNDLE_PATH,
        ),
        checkpoint=CheckpointConfig(
            **{f: getattr(checkpoint, f) for f in CheckpointConfig.model_fields}
        ),
        launch=_launch(spec.workers, name),
    )
