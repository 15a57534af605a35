"""What can be found out before torch is loaded and a GPU is touched.

A wrong Secret, bucket, endpoint, teacher or prompts file, or a DeepSpeed setting that is refused,
is told in seconds, not after the minute that loading the libraries and meeting the other nodes
takes. Nothing is written or downloaded.
"""

from __future__ import annotations

from collections.abc import Mapping

from sid_trainer.checkpoint.attempts import is_done, last_attempt
from sid_trainer.checkpoint.finding import manifests
from sid_trainer.config import MetricsConfig, RunConfig
from sid_trainer.config.endpoint import Server
from sid_trainer.config.families import family_of
from sid_trainer.contract import GANG_VARIABLE, TrainerError
from sid_trainer.data.encoding_folder import check_cache
from sid_trainer.data.images.places import needed_parts
from sid_trainer.data.prompts import check_prompts
from sid_trainer.engine.deepspeed_config import refuse_settings
from sid_trainer.evaluate.reference_places import check_reference
from sid_trainer.models.checking import check_file, check_folder, check_model
from sid_trainer.models.origins import is_lost
from sid_trainer.models.pipeline_index import NETWORK
from sid_trainer.process.failures import naming
from sid_trainer.storage import Storage, open_storage


def is_over(config: RunConfig, environ: Mapping[str, str]) -> bool:
    """Whether the gang of this pod has done all: its peers are gone and need not be met.

    Raises:
        TrainerError: when the storage cannot be read.
    """
    gang = environ.get(GANG_VARIABLE)
    if not gang:
        return False
    return is_done(open_storage(config.storage.uri, config.storage.server), gang)


def check_inputs(config: RunConfig) -> None:
    """Look whether storage, models and prompts are there.

    Raises:
        TrainerError: ``InvalidConfiguration``, ``AccessDenied``, ``NotFound`` or
            ``StorageUnavailable``, naming what, and the field that asks for it.
    """
    refuse_settings(config.deepspeed.config)
    endpoint = config.storage.server
    storage = open_storage(config.storage.uri, endpoint)
    last_attempt(storage)
    with naming("teacher.model"):
        pipeline = check_model(config.teacher.model, endpoint)
    if pipeline is not None:
        family_of(pipeline, config.teacher.family)
    if config.student.init_from is not None:
        _check_first_student(config.student.init_from, endpoint, storage)
    with naming("data.prompts.uri"):
        check_prompts(config.data.prompts, endpoint)
    needed_parts(config)
    _check_judges(config.evaluation.metrics, endpoint)
    if config.data.encoding_cache is not None:
        with naming("data.encodingCache.uri"):
            check_cache(config.data.encoding_cache.uri, endpoint)


def _check_first_student(model: str, endpoint: Server, storage: Storage) -> None:
    """Look whether the first student is there. A run with a checkpoint can go on without it."""
    try:
        with naming("student.initFrom"):
            check_model(model, endpoint, NETWORK)
    except TrainerError as error:
        if not is_lost(error, resumes=bool(manifests(storage))):
            raise


def _check_judges(metrics: MetricsConfig | None, endpoint: Server) -> None:
    """Look whether what measures the student is there. The Hub is not asked."""
    if metrics is None:
        return
    if metrics.captions is not None:
        with naming("evaluation.metrics.captions.uri"):
            check_prompts(metrics.captions, endpoint)
    if metrics.fid is not None:
        with naming("evaluation.metrics.fid.features"):
            check_file(metrics.fid.features, endpoint)
        if metrics.fid.images is not None:
            with naming("evaluation.metrics.fid.images.uri"):
                check_reference(metrics.fid.images.uri, endpoint)
    if metrics.clip_score is not None:
        with naming("evaluation.metrics.clipScore.model"):
            check_folder(metrics.clip_score.model, endpoint)
    if metrics.preference is not None:
        with naming("evaluation.metrics.preference.model"):
            check_folder(metrics.preference.model, endpoint)
