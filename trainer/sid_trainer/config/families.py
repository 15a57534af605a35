"""Which diffusers pipelines each teacher family has.

It imports no torch: a pipeline that cannot be distilled is told before it is fetched.
"""

from __future__ import annotations

from collections.abc import Mapping

from sid_trainer.config.base import Family
from sid_trainer.contract import FailureReason, TrainerError

PIPELINES: Mapping[Family, frozenset[str]] = {
    "sd3": frozenset({"StableDiffusion3Pipeline"}),
    "sana": frozenset({"SanaPipeline"}),
    "sana-sprint": frozenset({"SanaSprintPipeline", "SanaPipeline"}),
    "flux": frozenset({"FluxPipeline"}),
}
"""Pipeline classes by family; one that several can open is by default the first's."""


def family_of(
    pipeline: str | None, wanted: Family | None = None, reference: str = "teacher.model"
) -> Family:
    """The family that opens a pipeline.

    Args:
        pipeline: its class, ``_class_name`` of model_index.json.
        wanted: ``teacher.family``.
        reference: the pipeline, for messages.

    Raises:
        TrainerError: ``InvalidConfiguration`` when no family has it, or the wanted one has not.
    """
    found = [family for family, names in PIPELINES.items() if pipeline in names]
    if not found:
        known = ", ".join(sorted({name for names in PIPELINES.values() for name in names}))
        raise TrainerError(
            FailureReason.INVALID_CONFIGURATION,
            f"{reference} is a {pipeline}, which cannot be distilled yet: use one of {known}",
        )
    if wanted is not None and wanted not in found:
        raise TrainerError(
            FailureReason.INVALID_CONFIGURATION,
            f"teacher.family is {wanted} but teacher.model is of family {found[0]}: "
            "leave teacher.family out",
        )
    return wanted or found[0]
