"""Run on each rank: iterate from a saved state or from the start, and save what came out.

Arguments: the teacher's directory, a file with the run's sections by case, the output folder, the
first iteration (its state is read from the folder unless it is 0) and the last. A case with
``resumesFrom`` goes on from the state of another one.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from sid_ranks import Rank, joined, quiet, run_config

from sid_trainer.checkpoint.state import RankState
from sid_trainer.engine.distributed import leave
from sid_trainer.process.ending import end_with


def main() -> None:
    teacher, cases, output = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    first, last = int(sys.argv[4]), int(sys.argv[5])
    quiet()
    place = joined()
    for name, sections in json.loads(cases.read_text()).items():
        source = sections.pop("resumesFrom", name)
        if source != name and not first:
            continue
        rank = Rank(run_config(teacher, **sections), place)
        prefix = output / f"{name}-rank{place.rank}"
        if first:
            saved = torch.load(output / f"{source}-rank{place.rank}-{first}.pt")
            rank.networks.restore(RankState(saved["tensors"], saved["meta"]))
        losses = []
        for iteration in range(first, last):
            losses += rank.iterate(iteration).metrics.values()
            if iteration + 1 in (3, last):
                state = rank.networks.capture()
                kind = "resumed" if first else "straight"
                file = f"{prefix}-3.pt" if iteration + 1 == 3 else f"{prefix}-{kind}.pt"
                content = {"tensors": state.tensors, "meta": state.meta}
                torch.save(content | {"losses": torch.stack(losses)}, file)
    leave()


if __name__ == "__main__":
    main()
    end_with(0)
