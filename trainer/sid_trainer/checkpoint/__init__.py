"""Checkpoints: each rank's part as an object, and a manifest that makes them one.

A checkpoint is ``checkpoints/iter-00001000/`` below the run's folder, with the parts under
``attempt-0002/`` and ``manifest.json``, which is written last: without it there is no checkpoint.
"""

from sid_trainer.checkpoint.group import ProcessGroup, SoloGroup, TorchGroup
from sid_trainer.checkpoint.settings import resume_settings
from sid_trainer.checkpoint.store import CheckpointStore, Resumed

__all__ = [
    "CheckpointStore",
    "ProcessGroup",
    "Resumed",
    "SoloGroup",
    "TorchGroup",
    "resume_settings",
]
