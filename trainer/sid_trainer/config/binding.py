"""Which settings bind what a run has learned so far, and which may change on the way.

Rules this module keeps:

* What gives the state another meaning (teacher, student, loss, data, batch, precision, seed) binds
  it. What does not is free: length, learning rates and clipping, on which no state depends, memory
  against time, where encodings are kept, how the student is exported. Both the trainer, which
  compares a checkpoint's settings, and the API server, which refuses changes of a live resource, go
  by this table.
* A new setting binds until it is listed here.
"""

from __future__ import annotations

from collections.abc import Mapping

BINDING = ("teacher", "student", "distillation", "data", "training")
"""Sections that bind a checkpoint. ``deepspeed`` is none of them: it trades memory for time."""

FREE: Mapping[str, frozenset[str]] = {
    "data": frozenset({"encoding_cache"}),
    "student": frozenset({"export_precision"}),
    "training": frozenset(
        {
            "iterations",
            "images",
            "learning_rate",
            "fake_learning_rate",
            "warmup_iterations",
            "gradient_clipping",
            "micro_batch_size",
            "gradient_checkpointing",
            "compile",
            "attention",
            "max_skipped_updates",
            "watchdog_seconds",
        }
    ),
}
"""Settings of those sections that may change between two attempts."""
