"""What a run starts from, brought to this node: teacher, first student, prompts, images."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sid_trainer.config import RunConfig
from sid_trainer.data.images.parts import Part
from sid_trainer.data.images.places import needed_parts
from sid_trainer.data.prompts import PromptIndex, open_prompts
from sid_trainer.failures import told_of
from sid_trainer.models import fetch_model
from sid_trainer.origins import STUDENT, TEACHER, Origins, Pins, origin_of


@dataclass(frozen=True)
class Inputs:
    """What a run starts from, on this node's disk.

    Attributes:
        teacher: pipeline directory.
        student: pipeline directory that the student starts from; the teacher's by default.
        prompts: training prompts.
        images: parts of the real images, for data-aided training.
        origins: which models they are.
    """

    teacher: Path
    student: Path
    prompts: PromptIndex
    images: list[Part] | None
    origins: Origins


def fetch_inputs(config: RunConfig, pins: Pins) -> Inputs:
    """Bring teacher, first student and prompts to this node.

    Args:
        config: the run.
        pins: which models they are to be.

    Raises:
        TrainerError: naming the field whose value cannot be had.
    """
    endpoint = config.storage.server
    models = {TEACHER: config.teacher.model}
    if config.student.init_from is not None:
        models[STUDENT] = config.student.init_from
    folders, origins = {}, {}
    for name, model in models.items():
        folders[name] = pins.fetch(name, partial(fetch_model, model, endpoint=endpoint))
        with told_of(name):
            origins[name] = origin_of(folders[name], pins.commits.get(name))
    with told_of("data.prompts.uri"):
        prompts = open_prompts(config.data.prompts, endpoint)
    teacher = folders[TEACHER]
    student = folders.get(STUDENT, teacher)
    return Inputs(teacher, student, prompts, needed_parts(config), origins)
