"""``checkpoints export``: where the student goes, and what is said of it."""

from __future__ import annotations

import argparse
from pathlib import Path

from sid_trainer.checkpoint.finding import Found
from sid_trainer.checkpoint.weights import size_to_read
from sid_trainer.commands.storage_arguments import endpoint_given
from sid_trainer.config.endpoint import Server
from sid_trainer.contract import FailureReason, TrainerError
from sid_trainer.export.checkpoint import (
    Form,
    Progress,
    Source,
    export_checkpoint,
    has_average,
    run_of,
)
from sid_trainer.storage import Storage, open_storage
from sid_trainer.telling.console import hide_progress_bars
from sid_trainer.telling.meter import Meter


def export(storage: Storage, entry: Found, given: argparse.Namespace) -> None:
    """Export the student of a checkpoint as the arguments say.

    Raises:
        TrainerError: when the place is not empty, or as :func:`export_checkpoint`.
    """
    if entry.manifest is None:
        raise ValueError("a checkpoint without a manifest is none")
    hide_progress_bars()
    endpoint = endpoint_given(given)
    target, folder = _target(given.to, endpoint)
    source = Source(storage, endpoint, entry.manifest, given.teacher)
    form = Form(not given.raw, given.precision)
    averaged = form.averaged and has_average(run_of(source))
    with (
        Meter("reading", size_to_read(entry.manifest, averaged=averaged)) as read,
        Meter("writing") as written,
    ):
        uri = export_checkpoint(source, form, target, folder, Progress(read.add, written.add))
    weights = "averaged" if averaged else "present"
    print(f"the student of iteration {entry.iteration}, {weights} weights: {uri}")


def _target(place: str, endpoint: Server) -> tuple[Storage, str]:
    """The storage and the folder in it, which must be empty: an export replaces what is there."""
    uri = place if "://" in place else Path(place).absolute().as_uri()
    parent, _, folder = uri.rstrip("/").rpartition("/")
    if parent in ("s3:/", "file://", "s3:", "file:"):
        raise TrainerError(
            FailureReason.INVALID_CONFIGURATION,
            f"--to {place} names no folder: give s3://bucket/folder, or a path",
        )
    target = open_storage(parent, endpoint)
    if target.list(f"{folder}/"):
        raise TrainerError(
            FailureReason.INVALID_CONFIGURATION,
            f"--to {place} is not empty: give a new folder, or empty this one",
        )
    return target, folder
