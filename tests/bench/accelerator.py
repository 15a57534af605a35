"""What only an accelerator can tell: its utilisation, its waits, its memory."""

from __future__ import annotations

import os
import tempfile
import warnings
from pathlib import Path
from typing import Any

import torch

from tests.bench import ranks
from tests.bench.clocks import clocks
from tests.bench.flops import count
from tests.bench.report import Section, Spread
from tests.bench.workloads import WORKLOADS, Workload, workload

WARM_UP = 4
MATRIX, PRODUCTS = 8192, 20
RELEASED = {
    "sd3": "stabilityai/stable-diffusion-3.5-medium",
    "flux": "black-forest-labs/FLUX.1-dev",
}
"""Models of which the workloads are parts."""


def section(rounds: int) -> Section:
    """Measure every workload."""
    rows = []
    for name, offered in WORKLOADS["cuda"].items():
        found = ranks.run("accelerator", "cuda", name=name, rounds=rounds)
        rows.append(
            (
                offered.describe(),
                str(Spread(found["utilisation"])),
                str(Spread(found["of_all"])),
                f"{found['waits']:.1f}",
                f"{found['peak'] / 2**30:.1f} GiB",
                f"{found['peak'] / found['estimate']:.2f}",
            )
        )
    return Section(
        "Utilisation of the GPU",
        "Model FLOPs of an iteration in its time, over those of a bf16 matrix product of "
        f"{MATRIX} x {MATRIX} measured in turn with it. Model FLOPs leave out recomputed "
        "activations, the next column counts them; attention is its matrix products in both. "
        "Goal: 0.5. Waits are counted by CUDA's own watch, DeepSpeed's included.",
        (
            "network",
            "model FLOPs utilisation",
            "with recomputing",
            "waits an iteration",
            "peak",
            "peak / estimate",
        ),
        rows,
    )


def on_rank(device: str, name: str, rounds: int) -> dict[str, Any]:
    """Measure one workload."""
    from sid_trainer.config import StudentConfig, TrainingConfig  # noqa: PLC0415
    from sid_trainer.engine.distributed import leave  # noqa: PLC0415 - the parent needs no DeepSpeed
    from sid_trainer.method.noise import uniform_steps  # noqa: PLC0415
    from tests.bench.world import Training  # noqa: PLC0415

    work = workload(name, device, int(os.environ["WORLD_SIZE"]))
    training_config = TrainingConfig(
        batch_size=1, gradient_checkpointing=False, shared_roll_out=False
    )
    passes = count(work.shape, training_config).passes
    steps, guided = StudentConfig().steps, work.shape.guided_forwards
    with tempfile.TemporaryDirectory() as folder:
        directory = work.shape.write_weights(Path(folder), work.dtype, device)
        training = Training(work, directory)
    torch.cuda.reset_peak_memory_stats()
    seconds: list[tuple[float, float]] = []
    state = {"since": clocks()[0]}

    def after(_: int) -> None:
        mine = clocks()[0] - state["since"]
        seconds.append((mine, product_seconds()))
        state["since"] = clocks()[0]

    training.run(WARM_UP + rounds, after)
    peak = torch.cuda.max_memory_allocated()
    waits = _waits(training)
    leave()

    def utilisation(*, checkpointing: bool) -> list[float]:
        found = []
        for iteration, (mine, product) in enumerate(seconds):
            k = uniform_steps(0, iteration, steps)
            mean = passes.floor(steps, guided, checkpointing=checkpointing)
            flops = work.batch * (mean + 2 * (k - (steps + 1) / 2) * passes.forward)
            found.append(flops / mine / (2 * MATRIX**3 / product))
        return found[WARM_UP:]

    return {
        "utilisation": utilisation(checkpointing=False),
        "of_all": utilisation(checkpointing=work.checkpointing),
        "waits": waits,
        "peak": peak,
        "estimate": estimated(work),
    }


def estimated(work: Workload) -> int:
    """Bytes that ``python -m sid_trainer estimate`` tells of the updates.

    Less what it reserves for CUDA and libraries, which the allocator does not count.
    """
    from sid_trainer.config import RunConfig  # noqa: PLC0415 - the parent needs no DeepSpeed
    from sid_trainer.estimate import estimate_run  # noqa: PLC0415
    from sid_trainer.estimate.known import KNOWN  # noqa: PLC0415

    whole = KNOWN[RELEASED[work.shape.family]]
    config = RunConfig.model_validate(work.sections(1))
    found = estimate_run(config, whole.with_component("transformer", **work.shape.network))
    resident = sum(p.size for p in found.resident.parts if not p.name.startswith("reserve"))
    return resident + max(phase.size for phase in found.phases if "update" in phase.name)


def product_seconds() -> float:
    """Seconds of one large matrix product, the mean of some."""
    a = torch.randn(MATRIX, MATRIX, device="cuda", dtype=torch.bfloat16)
    a @ a
    since = clocks()[0]
    for _ in range(PRODUCTS):
        a @ a
    return (clocks()[0] - since) / PRODUCTS


def _waits(training: Any) -> float:
    """Synchronisations of an iteration by CUDA's own watch, those of the loop's clocks left out."""
    iterations = 4
    torch.cuda.set_sync_debug_mode("warn")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        training.run(iterations, lambda _: None)
    torch.cuda.set_sync_debug_mode("default")
    return sum("called a synchronizing" in str(w.message) for w in caught) / iterations
