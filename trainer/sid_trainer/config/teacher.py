"""The section ``teacher``: which model is distilled."""

from __future__ import annotations

from pydantic import Field

from sid_trainer.config.base import Family, Revision, Section
from sid_trainer.config.file_uri import ModelPlace


class TeacherConfig(Section):
    """The text-to-image model to distil. It is never changed."""

    model: ModelPlace = Field(
        description="Where the teacher's diffusers pipeline is: a Hugging Face id "
        '("stabilityai/stable-diffusion-3.5-medium"), "s3://bucket/key", or a path on a mounted '
        "volume."
    )
    family: Family | None = Field(
        default=None,
        description="Architecture of the teacher. Found from the pipeline's model_index.json when "
        "not given. sd3 covers SD3-Medium, SD3.5-Medium and SD3.5-Large; sana SANA, SANA-1.5 and "
        "all else that is a SanaPipeline; sana-sprint a SanaSprintPipeline, or a SanaPipeline that "
        "takes time in [0, 1]; flux FLUX.1-dev.",
    )
    revision: Revision | None = Field(
        default=None,
        description="Git revision of a Hugging Face model; a commit hash makes the run repeatable. "
        "Of a branch, a run keeps the commit that its first checkpoint was made with. Not used for "
        "s3:// and paths.",
    )
