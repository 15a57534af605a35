"""How the tiny pipelines are opened: by the family that their class has, or by one that is said."""

from __future__ import annotations

from sid_trainer.config import Family, TeacherConfig

SAID: dict[str, Family] = {"sana-sprint-said": "sana-sprint"}
"""A SanaPipeline that takes time in [0, 1], as examples/distill-sana-sprint.yaml opens it."""


def teacher_config(name: str) -> TeacherConfig:
    """The section ``teacher`` of a tiny pipeline."""
    return TeacherConfig(model="teacher", family=SAID.get(name))
