"""A run from its configuration to the exported student, as each of its processes lives it.

Rules this module keeps:

* What may fail on one rank alone (downloads, storage) is made known to all, so that none waits
  for one that has left.
* What the configuration makes impossible is refused before anything is downloaded.
* The environment names the accelerator (``DS_ACCELERATOR``) before this module is imported.
"""

from __future__ import annotations

import os
from dataclasses import replace

from sid_trainer.checkpoint.attempts import claim_attempt, note_done
from sid_trainer.checkpoint.leftovers import give_up_dead_uploads
from sid_trainer.checkpoint.settings import resume_settings
from sid_trainer.config import RunConfig
from sid_trainer.contract import GANG_VARIABLE
from sid_trainer.data.encoding_cache import open_encoder
from sid_trainer.data.prompts.consistency import require_same_prompts
from sid_trainer.engine.attention import choose_attention
from sid_trainer.engine.deepspeed_config import refuse_settings
from sid_trainer.engine.distributed import join, leave
from sid_trainer.engine.iteration import Distiller
from sid_trainer.engine.networks import build_networks
from sid_trainer.evaluate.stage import EvaluationStage
from sid_trainer.export import require_room
from sid_trainer.models.origins import find_pins, require_same_models
from sid_trainer.models.scorers import scorer_commits, with_commits
from sid_trainer.precision import COMPUTE_DTYPE, exported_dtype
from sid_trainer.process.group import TorchGroup, from_first, on_each
from sid_trainer.storage import LONG_PATIENCE, open_storage
from sid_trainer.teachers import open_teacher
from sid_trainer.telling.reporting import open_reporter
from sid_trainer.training.assembly import (
    Run,
    data_facts,
    export_now,
    make_batches,
    make_evaluation,
    make_images,
    make_keeper,
    make_pruner,
    make_store,
    make_watchdog,
    resume,
)
from sid_trainer.training.inputs import Inputs, fetch_inputs
from sid_trainer.training.keeping import Keeper
from sid_trainer.training.loop import Schedule, run_loop
from sid_trainer.training.services import RunServices


def train(config: RunConfig) -> None:
    """Train, checkpoint, and export the student: one process of the run.

    Raises:
        TrainerError: with the cause, on every rank alike where it concerns all.
    """
    refuse_settings(config.deepspeed.config)
    place = join(config.launch, config.training.watchdog_seconds)
    group = TorchGroup()
    dtype = COMPUTE_DTYPE[config.training.precision]
    on_each(group, lambda: choose_attention(config.training.attention, place.device, dtype))
    storage = open_storage(config.storage.uri, config.storage.server)
    claim = from_first(group, lambda: claim_attempt(storage))
    patient = open_storage(config.storage.uri, config.storage.server, LONG_PATIENCE)
    with open_reporter(config, storage, place.rank, claim.attempt, patient) as reporter:
        run = Run(config, place, group, storage, patient, reporter, claim)
        if place.rank == 0:
            give_up_dead_uploads(storage, claim.attempt, run.fence)
        reporter.stage("loading")
        pins = from_first(group, lambda: find_pins(config, storage, resume_settings(config)))
        scorers = from_first(group, lambda: scorer_commits(config.evaluation.metrics))
        # Not left open: for report and card, which tell what was done.
        rates = {"training": config.training.with_rates()}
        run = replace(run, config=with_commits(config, scorers).model_copy(update=rates))
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


def _train(run: Run, inputs: Inputs) -> None:
    config, place = run.config, run.place
    dtype = COMPUTE_DTYPE[config.training.precision]
    teacher = open_teacher(config.teacher, inputs.teacher, place.device, dtype)
    encode = open_encoder(teacher, config.data, config.storage.server)
    latent_shape = teacher.latent_shape(teacher.resolution(config.data.resolution))
    images = make_images(run, inputs, teacher, encode)
    networks = build_networks(config, teacher, inputs.student)
    pruner = make_pruner(run)
    store = make_store(run, inputs, pruner)
    done = resume(run, store, networks, inputs, images)
    run.reporter.stage("encoding")
    empty = encode([""]).to(place.device, dtype)
    losses = config.student, config.distillation, config.training
    distiller = Distiller(teacher, networks, *losses, latent_shape, empty)
    evaluation = make_evaluation(run, distiller, inputs, encode, empty)
    pruner.ranking = lambda: evaluation.ranking
    schedule = Schedule.of(config)
    evaluation.prepare(done)
    evaluation.make_good(done, schedule.samples_due(done), schedule.metrics_due(done))
    keeper = make_keeper(run, store, networks, data_facts(inputs.prompts, images), done)
    batches = make_batches(run, distiller, encode, inputs.prompts, images)
    from_first(run.group, lambda: require_room(networks.parameters, exported_dtype(config)))
    run.reporter.stage("training")
    if run.directory is not None:
        run.directory.note_training()
    services = RunServices(run.reporter, keeper, evaluation)
    with make_watchdog(run) as watchdog:
        run_loop(distiller, batches, schedule, services, done, watchdog.watch)
    finished = max(done, schedule.total)  # a run may be cut short later
    _finish(run, distiller, evaluation, keeper, finished)


def _finish(
    run: Run, distiller: Distiller, evaluation: EvaluationStage, keeper: Keeper, iteration: int
) -> None:
    """Measure, export and report the student of the end."""
    evaluation.last_metrics(iteration, keeper.told_to_end)
    keeper.meet(iteration)
    if run.directory is not None:
        run.directory.end_training()
    evaluation.finish()
    run.reporter.stage("exporting")
    run.reporter.student(export_now(run, distiller, evaluation.edition(iteration)))
    run.reporter.report_page(evaluation.report(iteration))
