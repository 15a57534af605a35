"""``estimate``: the memory that a run needs, computed before anything is loaded."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from sid_trainer.contract import ExitCode
from sid_trainer.estimate import estimate_run, find_skeleton
from sid_trainer.estimate.manifest import load_run
from sid_trainer.estimate.report import as_json, as_text
from sid_trainer.estimate.settings import GPU_MEMORY_GIB
from sid_trainer.memory.accounts import GIB
from sid_trainer.telling.console import hide_progress_bars

_DESCRIPTION = (
    "Tell the memory that a run needs, a GPU and a node, and whether it fits. FILE is a "
    "configuration of the trainer or a SiDDistillation. No weights are fetched; released teachers "
    "need no network at all."
)


def main(arguments: Sequence[str]) -> int:
    """Run the command: exit code 1 where the run does not fit."""
    given = _parser().parse_args(arguments)
    config = load_run(given.config)
    if given.teacher:
        teacher = config.teacher.model_copy(update={"model": given.teacher})
        config = config.model_copy(update={"teacher": teacher})
    hide_progress_bars()
    estimate = estimate_run(config, find_skeleton(config.teacher, config.storage.server))
    capacity = int(given.gpu_memory * GIB)
    if given.json:
        json.dump(as_json(estimate, capacity), sys.stdout, indent=2)
        print()
    else:
        print(as_text(estimate, capacity), end="")
    return ExitCode.DONE if estimate.fits(capacity) else ExitCode.FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sid_trainer estimate", description=_DESCRIPTION
    )
    parser.add_argument(
        "--config", required=True, type=Path, metavar="FILE", help="the run or the resource"
    )
    parser.add_argument(
        "--teacher",
        metavar="MODEL",
        help="look at this pipeline instead of teacher.model, where that cannot be read from here",
    )
    parser.add_argument(
        "--gpu-memory",
        type=float,
        default=GPU_MEMORY_GIB,
        metavar="GIB",
        help=f"memory of a GPU in GiB (default {GPU_MEMORY_GIB:g})",
    )
    parser.add_argument("--json", action="store_true", help="print JSON, sizes in bytes")
    return parser
