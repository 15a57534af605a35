"""A run from its configuration to the exported student, as each of its processes lives it.

Rules this module keeps:

* What may fail on one rank alone (downloads, storage) is made known to all, so that none waits
  for one that has left.
* What the configuration makes impossible is refused before anything is downloaded.
* The environment names the accelerator (``DS_ACCELERATOR``) before this module is imported.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

from sid_trainer.checkpoint.attempts import Claim, claim_attempt, note_done, require_newest
from sid_trainer.checkpoint.background import BackgroundSaver
from sid_trainer.checkpoint.layout import FOLDER
from sid_trainer.checkpoint.leftovers import give_up_dead_uploads
from sid_trainer.checkpoint.settings import resume_settings
from sid_trainer.checkpoint.state import Json, RankState
from sid_trainer.checkpoint.store import CheckpointStore
from sid_trainer.config import RunConfig
from sid_trainer.contract import GANG_VARIABLE
from sid_trainer.data.encoding import Encode, EncodedPrompts
from sid_trainer.data.encoding_cache import open_encoder
from sid_trainer.data.images.consistency import META as IMAGES
from sid_trainer.data.images.consistency import tell_other_images
from sid_trainer.data.images.latents import RealImages
from sid_trainer.data.images.opening import open_images
from sid_trainer.data.prompts import PromptIndex, Prompts
from sid_trainer.data.prompts.consistency import META as PROMPTS
from sid_trainer.data.prompts.consistency import require_same_prompts, tell_other_prompts
from sid_trainer.data.prompts.order import PromptOrder
from sid_trainer.engine.deepspeed_config import refuse_settings
from sid_trainer.engine.distributed import Place, join, leave
from sid_trainer.engine.iteration import Distiller
from sid_trainer.engine.networks import Networks, build_networks
from sid_trainer.evaluate.opening import open_evaluation, open_sampling
from sid_trainer.evaluate.ranks import Ranks
from sid_trainer.export import Edition, export_student, require_room
from sid_trainer.method.sampler import scheduler_config
from sid_trainer.models.origins import find_pins, require_same_models
from sid_trainer.precision import COMPUTE_DTYPE, exported_dtype
from sid_trainer.process.ending import end_process
from sid_trainer.process.group import ProcessGroup, TorchGroup, from_first, on_each
from sid_trainer.process.run_directory import RunDirectory
from sid_trainer.storage import LONG_PATIENCE, Storage, open_storage
from sid_trainer.storage.base import not_found
from sid_trainer.teachers import Teacher, open_teacher
from sid_trainer.telling.reporter import Reporter
from sid_trainer.telling.reporting import open_reporter
from sid_trainer.training.inputs import Inputs, fetch_inputs
from sid_trainer.training.keeping import Keeper
from sid_trainer.training.loop import Batches, Schedule, run_loop
from sid_trainer.training.services import RunServices
from sid_trainer.watch.watchdog import Watchdog


def train(config: RunConfig) -> None:
    """Train, checkpoint, and export the student: one process of the run.

    Raises:
        TrainerError: with the cause, on every rank alike where it concerns all.
    """
    refuse_settings(config.deepspeed.config)
    place = join(config.launch, config.training.watchdog_seconds)
    group = TorchGroup()
    storage = open_storage(config.storage.uri, config.storage.server)
    claim = from_first(group, lambda: claim_attempt(storage))
    patient = open_storage(config.storage.uri, config.storage.server, LONG_PATIENCE)
    with open_reporter(config, storage, place.rank, claim.attempt) as reporter:
        run = Run(config, place, group, storage, patient, reporter, claim)
        if place.rank == 0:
            give_up_dead_uploads(storage, claim.attempt, run.fence)
        reporter.stage("loading")
        pins = from_first(group, lambda: find_pins(config, storage, resume_settings(config)))
        inputs = on_each(group, lambda: fetch_inputs(config, pins))
        require_same_prompts(group, inputs.prompts)
        require_same_models(group, inputs.origins)
        pins.require_teacher(inputs.origins)
        _train(run, inputs)
        reporter.stage("done")
    gang = os.environ.get(GANG_VARIABLE)
    if gang:
        from_first(group, lambda: note_done(storage, claim.attempt, gang))
    leave()


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


def _train(run: Run, inputs: Inputs) -> None:
    config, place = run.config, run.place
    dtype = COMPUTE_DTYPE[config.training.precision]
    teacher = open_teacher(config.teacher, inputs.teacher, place.device, dtype)
    encode = open_encoder(teacher, config.data, config.storage.server)
    latent_shape = teacher.latent_shape(teacher.resolution(config.data.resolution))
    images = _images(run, inputs, teacher)
    networks = build_networks(config, teacher, inputs.student)
    settings = resume_settings(config)
    keep_last = config.checkpoint.keep_last
    store = CheckpointStore(
        run.storage,
        run.group,
        settings,
        run.claim.attempt,
        keep_last,
        run.patient,
        run.fence,
        inputs.origins,
    )
    done = _resume(run, store, networks, inputs, images)
    run.reporter.stage("encoding")
    empty = encode([""]).to(place.device, dtype)
    distiller = Distiller(
        teacher,
        networks,
        config.student,
        config.distillation,
        config.training,
        latent_shape,
        empty,
    )
    evaluation = open_evaluation(
        config,
        Ranks(place, run.group, run.storage, run.reporter.alive),
        run.reporter,
        open_sampling(config, distiller, empty),
        inputs.prompts,
        encode,
        partial(_export, run, teacher, networks),
    )
    store.keep_best(config.checkpoint.keep_best, lambda: evaluation.ranking)
    schedule = Schedule.of(config)
    evaluation.prepare()
    evaluation.make_good(done, schedule.samples_due(done), schedule.metrics_due(done))
    keeper = _keeper(run, store, networks, _data_facts(inputs.prompts, images), done)
    services = RunServices(run.reporter, keeper, evaluation)
    batches = replace(_batches(run, distiller, encode, inputs.prompts), images=images)
    from_first(run.group, lambda: require_room(networks.parameters, exported_dtype(config)))
    run.reporter.stage("training")
    if run.directory is not None:
        run.directory.note_training()
    with _watchdog(run) as watchdog:
        run_loop(distiller, batches, schedule, services, done, watchdog.watch)
    finished = max(done, schedule.total)  # a run may be cut short later
    evaluation.last_metrics(finished, keeper.told_to_end)
    keeper.meet(finished)
    evaluation.finish()
    run.reporter.stage("exporting")
    run.reporter.student(_export(run, teacher, networks, evaluation.edition(finished)))
    run.reporter.report_page(evaluation.report(finished))


def _watchdog(run: Run) -> Watchdog:
    return Watchdog(
        run.config.training.watchdog_seconds,
        lambda error: end_process(error, run.place.rank, run.directory),
        run.directory,
    )


def _keeper(
    run: Run, store: CheckpointStore, networks: Networks, data: Mapping[str, Json], done: int
) -> Keeper:
    def snapshot(iteration: int) -> RankState:
        state, seed = networks.capture(), run.config.training.seed
        more: dict[str, Json] = {"iteration": iteration, "seed": seed}
        return RankState(state.tensors, state.meta | more | dict(data))

    tolerated = run.config.checkpoint.tolerated_failures
    saver = BackgroundSaver(store, run.group, tolerated, run.reporter.flush)
    return Keeper(saver, run.group, snapshot, run.reporter, run.directory, done)


def _data_facts(prompts: PromptIndex, images: RealImages | None) -> dict[str, Json]:
    """What a checkpoint tells of the data that it was made with."""
    facts: dict[str, Json] = {PROMPTS: prompts.fingerprint}
    return facts if images is None else facts | {IMAGES: images.fingerprint}


def _resume(
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
        if run.config.checkpoint.resume == "required":
            raise not_found(
                f"{run.storage.uri(FOLDER)}/",
                "checkpoint.resume is required; bring the checkpoints there, or set it to auto to "
                "begin anew",
            )
        if inputs.lost is not None:
            raise inputs.lost
        return 0
    networks.restore(resumed.state)
    tell_other_prompts(resumed.state.meta, inputs.prompts)
    tell_other_images(resumed.state.meta, images)
    run.reporter.resumed(resumed.ref)
    if resumed.passed_over:
        damaged = ". ".join(resumed.passed_over)
        run.reporter.checkpoint_problem(f"it went back to iteration {resumed.iteration}: {damaged}")
    return resumed.iteration


def _images(run: Run, inputs: Inputs, teacher: Teacher) -> RealImages | None:
    samples = run.place.samples(run.config.training.batch_size)
    return open_images(run.config, inputs.images, teacher, samples, run.group, run.storage)


def _batches(run: Run, distiller: Distiller, encode: Encode, prompts: Prompts) -> Batches:
    training = run.config.training
    order = PromptOrder(len(prompts), training.batch_size, training.seed)
    samples = run.place.samples(training.batch_size)
    encoded = EncodedPrompts(prompts, order, samples, encode, group=run.group)
    return Batches(encoded, samples, run.config.micro_batch_size, distiller)


def _export(run: Run, teacher: Teacher, networks: Networks, edition: Edition) -> str:
    """Export the student of now; return where it is; a collective."""
    student = run.config.student
    dtype = exported_dtype(run.config)
    state_dict = networks.student_state_dict(dtype=dtype)
    resolution = teacher.resolution(run.config.data.resolution)

    def export() -> str:
        run.fence()
        network = replace(teacher.exported(state_dict or {}, resolution), dtype=dtype)
        scheduler = scheduler_config(student)
        return export_student(
            run.patient, run.config, teacher.directory, network, scheduler, edition
        )

    return from_first(run.group, export)
