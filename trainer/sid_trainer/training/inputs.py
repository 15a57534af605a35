"""What a run starts from, brought to this node: teacher, first student, prompts, images."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sid_trainer.config import RunConfig
from sid_trainer.contract import TrainerError
from sid_trainer.data.images.parts import ImagePart
from sid_trainer.data.images.places import needed_parts
from sid_trainer.data.prompts import PromptIndex, open_prompts
from sid_trainer.models.fetching import fetch_model
from sid_trainer.models.origins import STUDENT, TEACHER, Origins, Pins, is_lost, origin_of
from sid_trainer.models.pipeline_index import NETWORK
from sid_trainer.process.failures import naming

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Inputs:
    """What a run starts from, on this node's disk.

    Attributes:
        teacher: pipeline directory.
        student: directory with the network that the student starts from; the teacher's by default.
        prompts: training prompts.
        images: parts of the real images, for data-aided training.
        origins: which models they are.
        lost: why the first student cannot be had any more, for a run that has a checkpoint: it need
            go on from that. The teacher's network stands in for what no checkpoint holds, buffers
            that are never trained.
    """

    teacher: Path
    student: Path
    prompts: PromptIndex
    images: list[ImagePart] | None
    origins: Origins
    lost: TrainerError | None = None


def fetch_inputs(config: RunConfig, pins: Pins) -> Inputs:
    """Bring teacher, first student and prompts to this node.

    Args:
        config: the run.
        pins: which models they are to be.

    Raises:
        TrainerError: naming the field whose value cannot be had.
    """
    endpoint = config.storage.server
    fetch = partial(fetch_model, config.teacher.model, endpoint=endpoint)
    teacher = student = pins.fetch(TEACHER, fetch)
    origins, lost = {TEACHER: _origin(TEACHER, teacher, pins)}, None
    if config.student.init_from is not None:
        fetch = partial(fetch_model, config.student.init_from, endpoint=endpoint, only=NETWORK)
        try:
            student = pins.fetch(STUDENT, fetch)
            origins[STUDENT] = _origin(STUDENT, student, pins)
        except TrainerError as error:
            if not is_lost(error, resumes=pins.resumes):
                raise
            lost = error
            logger.warning("%s. The run's checkpoints stand in for it", error)
    with naming("data.prompts.uri"):
        prompts = open_prompts(config.data.prompts, endpoint)
    return Inputs(teacher, student, prompts, needed_parts(config), origins, lost)


def _origin(name: str, folder: Path, pins: Pins) -> str:
    with naming(name):
        return origin_of(folder, pins.commits.get(name))
