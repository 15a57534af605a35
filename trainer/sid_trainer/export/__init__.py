"""The student as a stock diffusers pipeline: written, verified, and uploaded."""

from sid_trainer.export.student import ExportedNetwork, export_student

__all__ = ["ExportedNetwork", "export_student"]
