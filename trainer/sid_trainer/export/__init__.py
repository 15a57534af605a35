"""The student as a stock diffusers pipeline: written, verified, and uploaded."""

from sid_trainer.export.student import export_student
from sid_trainer.exported_network import ExportedNetwork

__all__ = ["ExportedNetwork", "export_student"]
