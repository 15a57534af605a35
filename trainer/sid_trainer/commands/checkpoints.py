"""``checkpoints``: list, verify, export and prune the checkpoints of a run."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import get_args

from sid_trainer.checkpoint.finding import Found
from sid_trainer.checkpoint.inspection import (
    Inventory,
    drop,
    inventory,
    newest_whole,
    surplus,
    verify,
)
from sid_trainer.checkpoint.leftovers import unfinished
from sid_trainer.checkpoint.retention import best_of
from sid_trainer.commands.storage_arguments import add_storage_arguments, storage_given
from sid_trainer.config import Metric
from sid_trainer.contract import ExitCode, FailureReason, TrainerError
from sid_trainer.report.records import Best, Records
from sid_trainer.storage import Storage
from sid_trainer.telling.meter import Meter, size

_DESCRIPTION = (
    "List, verify, export and prune the checkpoints of a run. Credentials of S3 come from "
    "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, or from the role that "
    "AWS_ROLE_ARN and AWS_WEB_IDENTITY_TOKEN_FILE tell of. Results go to the standard output, "
    "progress to the standard error: a bar on a terminal, else a line now and then."
)
_ACTIONS = {
    "ls": "List the checkpoints, and what belongs to none.",
    "verify": "Read every object of every checkpoint and compare its checksum. Exit code 65 where "
    "one is damaged.",
    "export": "Make the student of a checkpoint: a diffusers pipeline, as the run exports it at "
    "its end. Takes no GPU and as much memory as the student has weights; reads no more of the "
    "checkpoint than these, and verifies them.",
    "prune": "Remove all checkpoints but the newest ones. Nothing is removed before one that "
    "stays was read and found whole.",
}


def main(arguments: Sequence[str]) -> int:
    """Run the command."""
    given = _parser().parse_args(arguments)
    storage = storage_given(given)
    with Meter("looking at manifests", unit="manifests") as meter:
        found = inventory(storage, meter.add)
    action: Callable[[Storage, Inventory, argparse.Namespace], None] = given.run
    if not found.entries and not found.leftovers:
        none = f"there are no checkpoints in {storage.uri()}"
        if action is not _ls:
            raise TrainerError(
                FailureReason.NOT_FOUND, f"{none}: correct --storage, or wait for the first one"
            )
        print(none)
        return ExitCode.DONE
    action(storage, found, given)
    return ExitCode.DONE


def _ls(storage: Storage, found: Inventory, given: argparse.Namespace) -> None:
    del storage, given
    print(f"{'ITERATION':>10} {'RANKS':>6} {'SIZE':>10} {'ATTEMPT':>8}  TIME")
    for entry in found.entries:
        if entry.manifest is None:
            print(f"{entry.iteration:>10}  {entry.damage}")
            continue
        made = entry.manifest
        print(
            f"{made.iteration:>10} {made.world_size:>6} {size(entry.size):>10} {made.attempt:>8}  "
            f"{made.time:%Y-%m-%d %H:%M:%S}  {entry.damage}".rstrip()
        )
    if found.leftovers:
        left = size(sum(one.size for one in found.leftovers))
        print(f"{len(found.leftovers)} objects ({left}) belong to no checkpoint")


def _verify(storage: Storage, found: Inventory, given: argparse.Namespace) -> None:
    del given
    problems = 0
    with Meter("reading", sum(entry.size for entry in found.entries if not entry.damage)) as meter:
        for entry in found.entries:
            told = verify(storage, entry, meter.add)
            problems += len(told)
            meter.say(f"iteration {entry.iteration}: {'; '.join(told) or 'whole'}")
    if problems:
        raise TrainerError(
            FailureReason.INVALID_DATA,
            f"{problems} objects are damaged: a run goes on from the newest checkpoint that is "
            "whole",
        )


def _export(storage: Storage, found: Inventory, given: argparse.Namespace) -> None:
    from sid_trainer.commands.export_student import export  # noqa: PLC0415 - torch takes seconds

    export(storage, _chosen(storage, found, given.iteration), given)


def _chosen(storage: Storage, found: Inventory, iteration: int | None) -> Found:
    """The checkpoint that is asked for, or the newest that listing finds nothing wrong with."""
    if iteration is None:
        entry = newest_whole(found)
    else:
        entry = next((each for each in found.entries if each.iteration == iteration), None)
    if entry is None:
        there = ", ".join(str(each.iteration) for each in found.entries if not each.damage)
        raise TrainerError(
            FailureReason.NOT_FOUND,
            f"{storage.uri()} has no checkpoint of iteration {iteration}: it has {there or 'none'}",
        )
    if entry.damage:
        raise TrainerError(
            FailureReason.INVALID_DATA, f"{entry.damage}: take another checkpoint by --iteration"
        )
    return entry


def _prune(storage: Storage, found: Inventory, given: argparse.Namespace) -> None:
    best = _best(storage, found, given.best) if given.best else set()
    begun = unfinished(storage) if given.leftovers else ()
    removed, newest = surplus(found, given.keep, best), newest_whole(found)
    if removed and newest is not None:
        _require_whole(storage, newest)
    with Meter("removing", len(removed), "checkpoints") as meter:
        for entry in removed:
            drop(storage, entry)
            meter.add(1)
            meter.say(f"removed the checkpoint of iteration {entry.iteration} ({size(entry.size)})")
    if given.leftovers and found.leftovers:
        storage.delete([one.key for one in found.leftovers])
        print(f"removed {len(found.leftovers)} objects that belonged to no checkpoint")
    if given.leftovers and begun:
        storage.give_up(begun)
        print(f"removed {len(begun)} uploads that never ended")


def _best(storage: Storage, found: Inventory, metric: Metric) -> set[int]:
    """The checkpoint whose student is the best, among those that compare with the newest."""
    records = Records.load(storage)
    measured = [each for each in records.evaluations if metric in each.metrics]
    if not measured:
        raise TrainerError(
            FailureReason.NOT_FOUND,
            f"{storage.uri()} has no measurements of {metric}: leave --best out",
        )
    ranked = Best.like(metric, measured[-1]).ranked(records)
    manifests = [each.manifest for each in found.entries if each.manifest and not each.damage]
    return best_of([each.iteration for each in ranked], manifests, 1)


def _require_whole(storage: Storage, newest: Found) -> None:
    """Read the newest checkpoint: if it is damaged, an older one is all that can be used."""
    with Meter("reading the newest checkpoint", newest.size) as meter:
        problems = verify(storage, newest, meter.add)
    if problems:
        raise TrainerError(
            FailureReason.INVALID_DATA,
            f"nothing was removed, as the newest checkpoint is damaged: {'; '.join(problems)}; "
            "keep more by --keep, so that one that is whole stays",
        )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sid_trainer checkpoints", description=_DESCRIPTION
    )
    actions = parser.add_subparsers(required=True, metavar="|".join(_ACTIONS))
    runs = {"ls": _ls, "verify": _verify, "export": _export, "prune": _prune}
    for name, text in _ACTIONS.items():
        action = actions.add_parser(name, help=text.partition(". ")[0], description=text)
        action.set_defaults(run=runs[name])
        add_storage_arguments(action)
        if name == "prune":
            _add_prune(action)
        if name == "export":
            _add_export(action)
    return parser


def _add_prune(action: argparse.ArgumentParser) -> None:
    action.add_argument("--keep", type=_at_least_one, required=True, metavar="N", help="how many")
    action.add_argument(
        "--best",
        choices=get_args(Metric),
        help="also keep the one whose student is the best by this metric",
    )
    action.add_argument(
        "--leftovers",
        action="store_true",
        help="also remove objects that belong to no checkpoint, and uploads that never ended; not "
        "while the run goes on",
    )


def _add_export(action: argparse.ArgumentParser) -> None:
    action.add_argument(
        "--to",
        required=True,
        metavar="PLACE",
        help="folder of the pipeline, new or empty: a path, or s3:// at the same endpoint",
    )
    action.add_argument(
        "--iteration", type=_at_least_one, metavar="N", help="which checkpoint; default the newest"
    )
    action.add_argument(
        "--raw", action="store_true", help="the present weights in place of the moving average"
    )
    action.add_argument(
        "--precision",
        choices=("fp32", "bf16"),
        help="type of the weights; default training.precision",
    )
    action.add_argument(
        "--teacher",
        metavar="MODEL",
        help="take the other components from this pipeline, where teacher.model of the run cannot "
        "be read from here",
    )


def _at_least_one(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)
