"""The arithmetic of GPU memory: what a run needs, from sizes that somebody has measured.

Rules this package keeps:

* No torch, no network, no files but its own: the operator computes with it, and so does
  :mod:`sid_trainer.estimate`, which measures any teacher's sizes from its configuration files.
* What was measured once for the released teachers is shipped as ``architectures.json``
  (``python -m sid_trainer.estimate.measure``); tests compare it with what is measured now.
"""

from __future__ import annotations

from sid_trainer.memory.accounts import GIB, Account, GpuNeed, Part
from sid_trainer.memory.known import known_need, known_node_need, released, released_model
from sid_trainer.memory.need import Sizes, Visit, gpu_need

__all__ = [
    "GIB",
    "Account",
    "GpuNeed",
    "Part",
    "Sizes",
    "Visit",
    "gpu_need",
    "known_need",
    "known_node_need",
    "released",
    "released_model",
]
