"""A training process as the launcher starts it, with waits and parts cut to the size of a test.

Every iteration is streamed, so that all losses can be compared; parts are the smallest that S3
allows, so that a small network's checkpoint has several.
"""

from __future__ import annotations

import sys
from types import ModuleType

import torch

from sid_trainer.commands.worker import main
from sid_trainer.engine import training_metrics
from sid_trainer.process.ending import end_with
from sid_trainer.storage import parts, s3, s3_server
from sid_trainer.telling import reporting


def cut_to_size() -> None:
    """Change the program's own numbers."""
    torch.set_num_threads(1)
    change(reporting, "REPORT_SECONDS", 0.0)
    change(training_metrics, "READING_SECONDS", 0.0)
    for module in (parts, s3):
        change(module, "PART_BYTES", parts.MIN_PART_BYTES)
    change(s3_server, "READ_SECONDS", 5.0)


def change(module: ModuleType, name: str, value: float) -> None:
    """Set one of a module's own numbers."""
    assert hasattr(module, name), f"{module.__name__} has no {name} any more"
    setattr(module, name, value)


if __name__ == "__main__":
    cut_to_size()
    end_with(main(sys.argv[1:]))
