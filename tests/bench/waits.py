"""Where an iteration waits for its device, by the line that does."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import torch

from tests.bench import ranks
from tests.bench.report import Section
from tests.bench.shapes import small
from tests.bench.workloads import Workload

WARM_UP, ITERATIONS = 4, 4
SHAPE = small("1 layer of 64, 16 tokens", width=64, layers=1, side=8, tokens=9)


def section(device: str) -> Section:
    """Count reads of tensors' values in the trainer's loop under ZeRO-3."""
    found = ranks.run("waits", device)
    rows = [(place, f"{count / ITERATIONS:.1f}") for place, count in sorted(found.items())]
    return Section(
        "Where the host reads from the device",
        "Reads of a tensor's value, blocking copies between host and device, and waits for the "
        f"whole device, in the training loop under ZeRO-3 ({ITERATIONS} iterations), each of which "
        "lets a GPU run dry. Metrics are read about every two seconds, at this size after each "
        "iteration. On a CPU reads of host memory count alike: of DeepSpeed's comparisons between "
        "ranks only the lengths' are the device's, the numbers' were copied before.",
        ("place", "an iteration"),
        rows,
    )


def on_rank(device: str) -> dict[str, Any]:
    """How often each place waited."""
    from deepspeed.accelerator import get_accelerator  # noqa: PLC0415

    from sid_trainer.engine.distributed import leave  # noqa: PLC0415 - the parent needs no DeepSpeed
    from tests.bench.host import HostWatch  # noqa: PLC0415
    from tests.bench.world import Training  # noqa: PLC0415

    torch.set_num_threads(1)
    work = Workload(SHAPE, device, batch=2, world_size=int(os.environ["WORLD_SIZE"]))
    with tempfile.TemporaryDirectory() as folder:
        directory = work.shape.write_weights(Path(folder), work.dtype, device)
        training = Training(work, directory)
    training.run(WARM_UP, lambda _: None)
    with HostWatch() as watch, watch.whole_device(get_accelerator()):
        training.run(ITERATIONS, lambda _: None)
    leave()
    return dict(watch.places)
