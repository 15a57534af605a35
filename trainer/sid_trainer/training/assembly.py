"""The parts of a run, made of its configuration and of one another.

Rules this module keeps:

* A part is made where all that it needs is there: :func:`sid_trainer.training.run.train` keeps the
  order.
* What was read of a checkpoint, as large as all a rank trains, is free again once the run has gone
  on from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from sid_trainer.checkpoint.attempts import Claim, require_newest
from sid_trainer.checkpoint.background import BackgroundSaver
from sid_trainer.checkpoint.layout import FOLDER
from sid_trainer.checkpoint.pruning import Pruner
from sid_trainer.checkpoint.settings import resume_settings
from sid_trainer.checkpoint.state import Json, RankState
from sid_trainer.checkpoint.store import CheckpointStore
from sid_trainer.config import RunConfig
from sid_trainer.contract import TrainerError
from sid_trainer.data.encoding import Encode, EncodedPrompts
from sid_trainer.data.images.consistency import META as IMAGES
from sid_trainer.data.images.consistency import tell_other_images
from sid_trainer.data.images.latents import RealImages
from sid_trainer.data.images.opening import open_images
from sid_trainer.data.prompts import PromptIndex, Prompts
from sid_trainer.data.prompts.consistency import META as PROMPTS
from sid_trainer.data.prompts.consistency import tell_other_prompts
from sid_trainer.data.prompts.order import PromptOrder
from sid_trainer.engine.distributed import Place
from sid_trainer.engine.iteration import Distiller
from sid_trainer.engine.networks import Networks
from sid_trainer.evaluate.opening import open_evaluation, open_sampling
from sid_trainer.evaluate.ranks import Ranks
from sid_trainer.evaluate.stage import EvaluationStage
from sid_trainer.export import Edition, export_student
from sid_trainer.method.conditions import Condition
from sid_trainer.method.sampler import scheduler_config
from sid_trainer.models.origins import TEACHER
from sid_trainer.precision import exported_dtype
from sid_trainer.process.ending import end_process
from sid_trainer.process.group import ProcessGroup, from_first
from sid_trainer.process.run_directory import RunDirectory
from sid_trainer.storage import Storage
from sid_trainer.storage.base import not_found
from sid_trainer.teachers import Teacher
from sid_trainer.telling.reporter import Reporter
from sid_trainer.training.inputs import Inputs
from sid_trainer.training.keeping import Keeper
from sid_trainer.training.loop import Batches
from sid_trainer.watch.watchdog import Watchdog


@dataclass(frozen=True)
class Run:
    """What all parts of one process share.

    ``patient`` is ``storage`` with more patience.
    """

    config: RunConfig
    place: Place
    group: ProcessGroup
    storage: Storage
    patient: Storage
    reporter: Reporter
    claim: Claim

    def fence(self) -> None:
        """Raise TrainerError where another start of the run has taken over."""
        require_newest(self.patient, self.claim)

    @property
    def directory(self) -> RunDirectory | None:
        """The launcher's folder, if there is a launcher."""
        return RunDirectory.from_environment()


def make_pruner(run: Run) -> Pruner:
    """Knows no best checkpoints yet: none is committed before the evaluation is opened."""
    keep = run.config.checkpoint
    return Pruner(run.storage, run.claim.attempt, keep.keep_last, run.fence, keep.keep_best)


def make_store(run: Run, inputs: Inputs, pruner: Pruner) -> CheckpointStore:
    """The run's checkpoints. Parts are uploaded with patience, as training goes on meanwhile."""
    settings = resume_settings(run.config)
    return CheckpointStore(
        run.storage, run.group, settings, pruner, uploads=run.patient, origins=inputs.origins
    )


def make_evaluation(
    run: Run, distiller: Distiller, inputs: Inputs, encode: Encode, empty: Condition
) -> EvaluationStage:
    """What is drawn and measured on the way, with all that is needed for it; a collective."""
    ranks = Ranks(run.place, run.group, run.storage, run.reporter.alive)
    sampling = open_sampling(run.config, distiller, empty, inputs.origins[TEACHER])
    export = partial(export_now, run, distiller)
    tell = run.reporter
    return open_evaluation(run.config, ranks, tell, sampling, inputs.prompts, encode, export)


def make_watchdog(run: Run) -> Watchdog:
    """Ends this process where an iteration hangs."""
    return Watchdog(
        run.config.training.watchdog_seconds,
        lambda error: end_process(error, run.place.rank, run.directory),
        run.directory,
    )


def make_keeper(
    run: Run, store: CheckpointStore, networks: Networks, data: Mapping[str, Json], done: int
) -> Keeper:
    """Takes and stores checkpoints.

    Args:
        run: whose.
        store: where they go.
        networks: whose state they hold.
        data: what else each tells, of :func:`data_facts`.
        done: iterations that the newest stored one has; 0 for none.
    """

    def snapshot(iteration: int) -> RankState:
        state, seed = networks.capture(), run.config.training.seed
        more: dict[str, Json] = {"iteration": iteration, "seed": seed}
        return RankState(state.tensors, state.meta | more | dict(data))

    tolerated = run.config.checkpoint.tolerated_failures
    saver = BackgroundSaver(store, run.group, tolerated, run.reporter.flush)
    return Keeper(saver, run.group, snapshot, run.reporter, run.directory, done)


def data_facts(prompts: PromptIndex, images: RealImages | None) -> dict[str, Json]:
    """What a checkpoint tells of the data that it was made with."""
    facts: dict[str, Json] = {PROMPTS: prompts.fingerprint}
    return facts if images is None else facts | {IMAGES: images.fingerprint}


def resume(
    run: Run,
    store: CheckpointStore,
    networks: Networks,
    inputs: Inputs,
    images: RealImages | None,
) -> int:
    """Go on from the newest checkpoint, if any; return the finished iterations.

    What was read, as large as all this rank trains, is free again on return.
    """
    resumed = store.resume()
    if resumed is None:
        require_start(run.storage, run.config.checkpoint.resume, inputs.lost)
        return 0
    networks.restore(resumed.state)
    tell_other_prompts(resumed.state.meta, inputs.prompts)
    tell_other_images(resumed.state.meta, images)
    run.reporter.resumed(resumed.ref)
    if resumed.passed_over:
        damaged = ". ".join(resumed.passed_over)
        run.reporter.checkpoint_problem(f"it went back to iteration {resumed.iteration}: {damaged}")
    return resumed.iteration


def require_start(
    storage: Storage, resume: Literal["auto", "required"], lost: TrainerError | None
) -> None:
    """Refuse to begin anew, where there is no checkpoint and a run cannot do without one.

    Args:
        storage: the run's folder.
        resume: ``checkpoint.resume``.
        lost: why the first student cannot be had any more, if it cannot.

    Raises:
        TrainerError: ``NotFound`` where a checkpoint is required; else ``lost``.
    """
    if resume == "required":
        raise not_found(
            f"{storage.uri(FOLDER)}/",
            "checkpoint.resume is required; bring the checkpoints there, or set it to auto to "
            "begin anew",
        )
    if lost is not None:
        raise lost


def make_images(run: Run, inputs: Inputs, teacher: Teacher, encode: Encode) -> RealImages | None:
    """The real images of this rank's samples, for data-aided training; a collective."""
    samples = run.place.samples(run.config.training.batch_size)
    return open_images(run.config, inputs.images, teacher, encode, samples, run.group, run.storage)


def make_batches(
    run: Run, distiller: Distiller, encode: Encode, prompts: Prompts, images: RealImages | None
) -> Batches:
    """This rank's prompts and images of any iteration."""
    training = run.config.training
    order = PromptOrder(len(prompts), training.batch_size, training.seed)
    samples = run.place.samples(training.batch_size)
    encoded = EncodedPrompts(prompts, order, samples, encode, group=run.group)
    return Batches(encoded, samples, run.config.micro_batch_size, distiller, images)


def export_now(run: Run, distiller: Distiller, edition: Edition) -> str:
    """Export the student of now; return where it is; a collective."""
    student, teacher = run.config.student, distiller.teacher
    dtype = exported_dtype(run.config)
    state_dict = distiller.networks.student_state_dict(dtype=dtype)
    resolution = teacher.resolution(run.config.data.resolution)

    def export() -> str:
        run.fence()
        network = replace(teacher.exported(state_dict or {}, resolution), dtype=dtype)
        scheduler = scheduler_config(student)
        return export_student(
            run.patient, run.config, teacher.directory, network, scheduler, edition
        )

    return from_first(run.group, export)
