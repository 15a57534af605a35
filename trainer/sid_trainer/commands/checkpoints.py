"""``checkpoints``: list, verify and prune the checkpoints of a run."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence

from tqdm import tqdm

from sid_trainer.checkpoint.inspection import Inventory, drop, inventory, surplus, verify
from sid_trainer.contract import ExitCode, FailureReason, TrainerError
from sid_trainer.storage import Storage, open_storage


def main(arguments: Sequence[str]) -> int:
    """Run the command."""
    given = _parser().parse_args(arguments)
    storage = open_storage(given.storage, given.endpoint)
    found = inventory(storage)
    if not found.entries and not found.leftovers:
        print(f"there are no checkpoints in {storage.uri()}")
        return ExitCode.DONE
    match given.action:
        case "ls":
            _show(found)
        case "verify":
            return _verify(storage, found)
        case "prune":
            _prune(storage, found, given.keep, leftovers=given.leftovers)
    return ExitCode.DONE


def _show(found: Inventory) -> None:
    print(f"{'ITERATION':>10} {'RANKS':>6} {'SIZE':>10} {'ATTEMPT':>8}  TIME")
    for entry in found.entries:
        if entry.manifest is None:
            print(f"{entry.iteration:>10}  {entry.problem}")
            continue
        made = entry.manifest
        print(
            f"{made.iteration:>10} {made.world_size:>6} {_size(entry.size):>10} {made.attempt:>8}  "
            f"{made.time:%Y-%m-%d %H:%M:%S}  {entry.problem}".rstrip()
        )
    if found.leftovers:
        size = _size(sum(one.size for one in found.leftovers))
        print(f"{len(found.leftovers)} objects ({size}) belong to no checkpoint")


def _verify(storage: Storage, found: Inventory) -> int:
    problems = 0
    total = sum(entry.size for entry in found.entries if not entry.problem)
    with tqdm(total=total, unit="B", unit_scale=True, disable=not sys.stderr.isatty()) as bar:
        for entry in found.entries:
            told = verify(storage, entry, bar.update)
            problems += len(told)
            bar.write(f"iteration {entry.iteration}: {'; '.join(told) or 'whole'}")
    if problems:
        raise TrainerError(
            FailureReason.INVALID_DATA,
            f"{problems} objects are damaged: a run goes on from the newest checkpoint that is "
            "whole",
        )
    return ExitCode.DONE


def _prune(storage: Storage, found: Inventory, keep: int, *, leftovers: bool) -> None:
    for entry in surplus(found, keep):
        drop(storage, entry)
        print(f"removed the checkpoint of iteration {entry.iteration} ({_size(entry.size)})")
    if leftovers and found.leftovers:
        storage.delete([one.key for one in found.leftovers])
        print(f"removed {len(found.leftovers)} objects that belonged to no checkpoint")


def _size(count: int) -> str:
    if count < 1000:
        return f"{count} B"
    power = min(4, int(math.log(count, 1000)))
    return f"{count / 1000**power:.1f} {('', 'kB', 'MB', 'GB', 'TB')[power]}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sid_trainer checkpoints",
        description="List, verify and prune the checkpoints of a run. Credentials come from "
        "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.",
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ls|verify|prune")
    for name, text in (
        ("ls", "list them, and what belongs to none"),
        ("verify", "read every object and compare its checksum"),
        ("prune", "remove all but the newest"),
    ):
        action = actions.add_parser(name, help=text, description=text)
        action.add_argument(
            "--storage", required=True, metavar="URI", help="folder of the run: s3:// or file://"
        )
        action.add_argument("--endpoint", metavar="URL", help="S3 endpoint; default AWS")
        if name == "prune":
            action.add_argument("--keep", type=_at_least_one, required=True, metavar="N")
            action.add_argument(
                "--leftovers",
                action="store_true",
                help="also remove objects that belong to no checkpoint; not while the run goes on",
            )
    return parser


def _at_least_one(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)
