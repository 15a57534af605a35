"""A run from its configuration to the exported student, as each of its processes lives it.

Rules this module keeps:

* What may fail on one rank alone (downloads, storage) is made known to all, so that none waits
  for one that has left.
* What the configuration makes impossible is refused before anything is downloaded.
* The environment names the accelerator (``DS_ACCELERATOR``) before this module is imported.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch

from sid_trainer.attempts import claim_attempt
from sid_trainer.checkpoint.group import ProcessGroup, TorchGroup, from_first, together
from sid_trainer.checkpoint.settings import resume_settings
from sid_trainer.checkpoint.store import CheckpointStore
from sid_trainer.config import RunConfig
from sid_trainer.contract import FailureReason, TrainerError
from sid_trainer.data.encoding import EncodedPrompts
from sid_trainer.data.prompts import PromptOrder, parse_prompts
from sid_trainer.deepspeed_config import refuse_own_fields
from sid_trainer.distributed import Place, join, leave
from sid_trainer.export import export_student
from sid_trainer.failures import told_of
from sid_trainer.iteration import Distiller
from sid_trainer.loop import Batches, Schedule, run_loop
from sid_trainer.models import fetch_file, fetch_model
from sid_trainer.networks import Networks, build_networks
from sid_trainer.previews import Previews, preview_prompts
from sid_trainer.reporting import Reporter, open_reporter
from sid_trainer.sampler import scheduler_config
from sid_trainer.samples import save_grid
from sid_trainer.state import RankState
from sid_trainer.storage import Storage, open_storage
from sid_trainer.teachers import Teacher, open_teacher

COMPUTE_DTYPE = {"fp32": torch.float32, "bf16": torch.bfloat16}
Value = TypeVar("Value")


def train(config: RunConfig) -> None:
    """Train, checkpoint, and export the student: one process of the run.

    Raises:
        TrainerError: with the cause, on every rank alike where it concerns all.
    """
    refuse_impossible(config)
    place = join(config.launch)
    group = TorchGroup()
    storage = open_storage(config.storage.uri, config.storage.endpoint)
    attempt = from_first(group, lambda: claim_attempt(storage))
    with open_reporter(config, storage, place.rank, attempt) as reporter:
        run = Run(config, place, group, storage, reporter)
        reporter.stage("loading")
        inputs = _on_each(group, lambda: fetch_inputs(config))
        _train(run, inputs, attempt)
        reporter.stage("done")
    leave()


def refuse_impossible(config: RunConfig) -> None:
    """Raise what is wrong with a configuration before anything heavy is done.

    Raises:
        TrainerError: ``InvalidConfiguration``.
    """
    refuse_own_fields(config.deepspeed.config)
    try:
        scheduler_config(config.student)
    except ValueError as error:
        raise TrainerError(FailureReason.INVALID_CONFIGURATION, str(error)) from error


@dataclass(frozen=True)
class Run:
    """What all parts of one process share."""

    config: RunConfig
    place: Place
    group: ProcessGroup
    storage: Storage
    reporter: Reporter


@dataclass(frozen=True)
class Inputs:
    """What a run starts from, on this node's disk.

    Attributes:
        teacher: pipeline directory.
        student: pipeline directory that the student starts from; the teacher's by default.
        prompts: training prompts.
    """

    teacher: Path
    student: Path
    prompts: list[str]


def fetch_inputs(config: RunConfig) -> Inputs:
    """Bring teacher, first student and prompts to this node.

    Raises:
        TrainerError: naming the field whose value cannot be had.
    """
    endpoint = config.storage.endpoint
    init_from, uri = config.student.init_from, config.data.prompts.uri
    with told_of("teacher.model"):
        teacher = student = fetch_model(config.teacher.model, config.teacher.revision, endpoint)
    if init_from is not None:
        with told_of("student.initFrom"):
            student = fetch_model(init_from, None, endpoint)
    with told_of("data.prompts.uri"):
        prompts = parse_prompts(fetch_file(uri, endpoint).read_bytes(), uri)
    return Inputs(teacher, student, prompts)


def _on_each(group: ProcessGroup, work: Callable[[], Value]) -> Value:
    """Run ``work`` on every rank, each keeping its result; a failure of one is everybody's."""
    results: list[Value] = []
    together(group, lambda: results.append(work()))
    return results[0]


def _train(run: Run, inputs: Inputs, attempt: int) -> None:
    config, place = run.config, run.place
    dtype = COMPUTE_DTYPE[config.training.precision]
    teacher = open_teacher(config.teacher, inputs.teacher, place.device, dtype)
    latent_shape = teacher.latent_shape(config.data.resolution or teacher.default_resolution)
    networks = build_networks(config, teacher, inputs.student)
    settings = resume_settings(config)
    keep_last = config.checkpoint.keep_last
    store = CheckpointStore(run.storage, run.group, settings, attempt, keep_last)
    done = _resume(run, store, networks)
    run.reporter.stage("encoding")
    distiller = Distiller(
        teacher,
        networks,
        config.student,
        config.distillation,
        latent_shape,
        teacher.encode([""]).to(place.device, dtype),
        config.training.seed,
    )
    services = RunServices(run, store, distiller, _previews(run, teacher, inputs.prompts))
    batches = _batches(run, distiller, inputs.prompts)
    run.reporter.stage("training")
    schedule = Schedule.of(config)
    run_loop(distiller, batches, schedule, services, done)
    run.reporter.stage("exporting")
    _export(run, teacher, networks, max(done, schedule.total))  # a run may be cut short later


def _resume(run: Run, store: CheckpointStore, networks: Networks) -> int:
    """Go on from the newest checkpoint, if any; return the finished iterations.

    What was read, as large as all this rank trains, is free again on return.
    """
    resumed = store.resume()
    if resumed is None:
        return 0
    networks.restore(resumed.state)
    run.reporter.resumed(resumed.ref)
    return resumed.iteration


def _previews(run: Run, teacher: Teacher, prompts: list[str]) -> Previews:
    return Previews(
        teacher,
        preview_prompts(run.config, prompts),
        run.config.evaluation.seed,
        run.place,
        run.config.micro_batch_size,
    )


def _batches(run: Run, distiller: Distiller, prompts: list[str]) -> Batches:
    training = run.config.training
    order = PromptOrder(len(prompts), training.batch_size, training.seed)
    samples = run.place.samples(training.batch_size)
    encoded = EncodedPrompts(prompts, order, samples, distiller.teacher.encode)
    return Batches(encoded, samples, run.config.micro_batch_size, distiller)


def _export(run: Run, teacher: Teacher, networks: Networks, iteration: int) -> None:
    state_dict = networks.student_state_dict()
    resolution = run.config.data.resolution or teacher.default_resolution

    def export() -> str:
        return export_student(
            run.storage,
            run.config,
            teacher.directory,
            teacher.exported(state_dict or {}, resolution),
            scheduler_config(run.config.student),
            iteration,
        )

    run.reporter.student(from_first(run.group, export))


@dataclass(frozen=True)
class RunServices:
    """What the loop calls on the way, made of the run's storage and reporter."""

    run: Run
    store: CheckpointStore
    distiller: Distiller
    previews: Previews

    def iteration(self, iteration: int, metrics: Mapping[str, float]) -> None:
        """Tell the iteration."""
        self.run.reporter.iteration(iteration, metrics)

    def samples(self, iteration: int) -> None:
        """Draw, store and tell sample pictures; a collective."""
        images = self.previews.images(self.distiller)

        def save() -> str:
            if images is None:
                raise RuntimeError("the first rank has no sample pictures")
            return save_grid(self.run.storage, iteration, images, self.previews.prompts)

        self.run.reporter.samples(from_first(self.run.group, save))

    def checkpoint(self, iteration: int) -> None:
        """Store and tell a checkpoint; a collective."""
        state = self.distiller.networks.capture()
        seed = self.run.config.training.seed
        meta = state.meta | {"iteration": iteration, "seed": seed}
        self.run.reporter.checkpoint(self.store.save(RankState(state.tensors, meta), iteration))
