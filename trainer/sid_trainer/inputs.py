"""What a run starts from, brought to this node: teacher, first student, prompts, images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sid_trainer.config import RunConfig
from sid_trainer.data.images.parts import Part
from sid_trainer.data.images.places import needed_parts
from sid_trainer.data.prompts import PromptIndex, open_prompts
from sid_trainer.failures import told_of
from sid_trainer.models import fetch_model


@dataclass(frozen=True)
class Inputs:
    """What a run starts from, on this node's disk.

    Attributes:
        teacher: pipeline directory.
        student: pipeline directory that the student starts from; the teacher's by default.
        prompts: training prompts.
        images: parts of the real images, for data-aided training.
    """

    teacher: Path
    student: Path
    prompts: PromptIndex
    images: list[Part] | None


def fetch_inputs(config: RunConfig) -> Inputs:
    """Bring teacher, first student and prompts to this node.

    Raises:
        TrainerError: naming the field whose value cannot be had.
    """
    endpoint = config.storage.server
    init_from = config.student.init_from
    with told_of("teacher.model"):
        teacher = student = fetch_model(config.teacher.model, config.teacher.revision, endpoint)
    if init_from is not None:
        with told_of("student.initFrom"):
            student = fetch_model(init_from, None, endpoint)
    with told_of("data.prompts.uri"):
        prompts = open_prompts(config.data.prompts, endpoint)
    return Inputs(teacher, student, prompts, needed_parts(config))
