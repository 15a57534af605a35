"""The student of a checkpoint as a diffusers pipeline, made by one process without a GPU.

Rules this module keeps:

* What the checkpoint's manifest tells of the run is enough; no configuration file is needed, and no
  DeepSpeed.
* In memory are the student's weights, once, in the type that they are exported in, a block of an
  object, and a file of weights while it is written. On disk, in the node's cache, is the exported
  network; room for it is looked for before anything is read.
* The pipeline is the one that the run would have exported: the same writer writes it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from sid_trainer.checkpoint.manifest import Manifest
from sid_trainer.checkpoint.settings import completed
from sid_trainer.checkpoint.weights import Wanted, read_weights
from sid_trainer.config import RunConfig, StorageConfig
from sid_trainer.config.endpoint import Server, endpoint_of
from sid_trainer.contract import FailureReason, TrainerError
from sid_trainer.export.student import Edition, Sent, export_student, require_room
from sid_trainer.method.sampler import scheduler_config
from sid_trainer.models.fetching import fetch_model
from sid_trainer.models.origins import STUDENT, TEACHER, is_lost, recorded_commit
from sid_trainer.models.weight_files import WeightFiles, persistent_buffers
from sid_trainer.precision import COMPUTE_DTYPE
from sid_trainer.process.failures import naming
from sid_trainer.storage import Storage
from sid_trainer.teachers import Teacher, open_teacher

MAX_ITERATIONS = 100_000_000


@dataclass(frozen=True)
class Source:
    """A checkpoint, and what its manifest does not tell.

    Attributes:
        storage: the run's folder.
        endpoint: the S3 server, for the teacher, too.
        manifest: of the checkpoint.
        teacher: where the teacher is, if not where the run had it.
    """

    storage: Storage
    endpoint: Server
    manifest: Manifest
    teacher: str | None = None


@dataclass(frozen=True)
class Form:
    """What is made of it.

    Attributes:
        averaged: whether the student has the averaged weights, where the run keeps an average.
        precision: a key of :data:`COMPUTE_DTYPE`; the run's ``training.precision`` by default.
    """

    averaged: bool = True
    precision: str | None = None


@dataclass(frozen=True)
class Progress:
    """Who hears of the progress, in bytes."""

    read: Callable[[int], object] = lambda _: None
    sent: Sent = lambda _sent, _total: None


def run_of(source: Source) -> RunConfig:
    """The run that a checkpoint is of, as far as its manifest tells.

    Raises:
        TrainerError: ``InvalidConfiguration`` when its settings are none of this program's.
    """
    uri = source.storage.uri()
    settings: dict[str, Any] = completed(source.manifest.settings)
    if settings.get("distillation", {}).get("adversarial") is None:
        # Once a data-free run might name images; they were not read.
        settings["data"] = settings.get("data", {}) | {"images": None}
    # A run may be made longer at any time: its length is in no checkpoint, and unknown here.
    training = settings.get("training", {}) | {"iterations": MAX_ITERATIONS}
    try:
        return RunConfig.model_validate(
            {
                **settings,
                "training": training,
                "name": uri.rpartition("/")[2],
                "storage": StorageConfig(uri=uri, endpoint=endpoint_of(source.endpoint).url),
            }
        )
    except ValidationError as error:
        raise TrainerError(
            FailureReason.INVALID_CONFIGURATION,
            f"the settings in the manifest of iteration {source.manifest.iteration} are none of "
            f"this program's ({error.error_count()} errors): export with the image that wrote it",
        ) from error


def export_checkpoint(
    source: Source, form: Form, target: Storage, folder: str, progress: Progress | None = None
) -> str:
    """Write, verify and store the student of a checkpoint.

    Args:
        source: the checkpoint.
        form: what is made of it.
        target: where the student goes.
        folder: there; what it holds is replaced.
        progress: hears of bytes that are read and sent.

    Returns:
        Where the student is.

    Raises:
        TrainerError: naming the object that is damaged, or what cannot be had.
    """
    config, progress = run_of(source), progress or Progress()
    dtype = COMPUTE_DTYPE[form.precision or config.training.precision]
    with naming("teacher.model"):
        model, revision = source.teacher or config.teacher.model, config.teacher.revision
        if source.teacher is None:
            revision = recorded_commit(source.manifest.origins, TEACHER) or revision
        directory = fetch_model(model, revision, source.endpoint)
        teacher = open_teacher(config.teacher, directory, torch.device("cpu"), dtype)
    averaged = form.averaged and has_average(config)
    require_room(sum(shape.numel() for shape in _shapes(teacher.meta_network()).values()), dtype)
    state = _state(source, config, teacher, averaged, progress)
    resolution = teacher.resolution(config.data.resolution)
    network = replace(teacher.exported(state, resolution), dtype=dtype)
    return export_student(
        target,
        config if averaged else _without_average(config),
        directory,
        network,
        scheduler_config(config.student),
        Edition(source.manifest.iteration, folder),
        run=source.storage,
        sent=progress.sent,
    )


def has_average(config: RunConfig) -> bool:
    """Whether a run keeps a moving average of its student."""
    return config.training.ema.half_life_images > 0


def _without_average(config: RunConfig) -> RunConfig:
    ema = config.training.ema.model_copy(update={"half_life_images": 0})
    training = config.training.model_copy(update={"ema": ema})
    return config.model_copy(update={"training": training})


def _state(
    source: Source, config: RunConfig, teacher: Teacher, averaged: bool, progress: Progress
) -> dict[str, Tensor]:
    """The network's state dict: trained parameters, and buffers, which are not trained."""
    module = teacher.meta_network()
    wanted = Wanted(averaged, _shapes(module), teacher.dtype)
    weights = read_weights(source.storage, source.manifest, wanted, progress.read)
    return weights | _buffers(source, config, teacher, module)


def _shapes(module: nn.Module) -> dict[str, torch.Size]:
    """Shapes of the parameters, by name."""
    return {name: parameter.shape for name, parameter in module.named_parameters()}


def _buffers(
    source: Source, config: RunConfig, teacher: Teacher, module: nn.Module
) -> dict[str, Tensor]:
    """Buffers of the pipeline that the student began from, the teacher's where that is gone."""
    shapes = {name: buffer.shape for name, buffer in persistent_buffers(module)}
    if not shapes:
        return {}
    begun_from: Path = teacher.directory
    if config.student.init_from is not None:
        commit = recorded_commit(source.manifest.origins, STUDENT)
        try:
            with naming(STUDENT):
                begun_from = fetch_model(
                    config.student.init_from, commit, source.endpoint, only=teacher.network_folder
                )
        except TrainerError as error:
            if not is_lost(error, resumes=True):
                raise
    with WeightFiles(begun_from / teacher.network_folder) as files:
        stored = teacher.weights(files)
        return {name: stored.read(name, shape) for name, shape in shapes.items()}
