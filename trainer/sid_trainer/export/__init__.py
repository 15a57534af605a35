"""The student as a stock diffusers pipeline: written, verified, and uploaded."""

from sid_trainer.export.student import Edition, export_student, require_room
from sid_trainer.models.exported_network import ExportedNetwork

__all__ = ["Edition", "ExportedNetwork", "export_student", "require_room"]
