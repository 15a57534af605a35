"""What memory a run needs, computed before anything is loaded.

Rules this package keeps:

* No DeepSpeed, no accelerator, no weights: networks are built on ``meta`` from configuration files.
* Nothing is guessed where it can be derived: shards follow from DeepSpeed's own configuration,
  activations from running the trainer's objectives on tensors without memory. What is assumed is
  named so: the reserve on a GPU and the size of a program.
* The command and its output are thin; operators of other kinds may call :func:`estimate_run`.
"""

from __future__ import annotations

from sid_trainer.estimate.model import estimate_run
from sid_trainer.estimate.report import Estimate
from sid_trainer.estimate.source import find_skeleton
from sid_trainer.memory.accounts import Account, Part

__all__ = ["Account", "Estimate", "Part", "estimate_run", "find_skeleton"]
