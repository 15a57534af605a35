"""``make bench``: speed as ratios, both sides measured in turn in one run.

Now: an iteration of the trainer under ZeRO-3 on one process against the same iteration in plain
PyTorch, written from the equations, on the digits teacher. What is above 1 is DeepSpeed's and ours.
"""

from __future__ import annotations

import os
import platform
import socket
import statistics
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

REFERENCE = Path(__file__).resolve().parents[1] / "integration" / "trainer" / "distillation"
WARM_UP, ROUNDS, BATCH = 3, 15, 32


def environment() -> None:
    """What a single CPU process needs before DeepSpeed is imported."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    os.environ |= {"DS_ACCELERATOR": "cpu", "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    os.environ |= {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    sys.path.insert(0, str(REFERENCE))


def in_turn(
    ours: Callable[[int], object], theirs: Callable[[int], object]
) -> list[tuple[float, float]]:
    """Seconds of each iteration of both, one after the other, without those of the warm-up."""
    seconds = []
    for iteration in range(WARM_UP + ROUNDS):
        started = time.perf_counter()
        ours(iteration)
        between = time.perf_counter()
        theirs(iteration)
        seconds.append((between - started, time.perf_counter() - between))
    return seconds[WARM_UP:]


def main() -> None:
    """Measure and print the report."""
    environment()
    import torch  # noqa: PLC0415 - after the environment
    from sid_ranks import PROMPTS, Rank, joined, run_config  # noqa: PLC0415
    from sid_reference import Reference  # noqa: PLC0415

    from sid_trainer.digits.cache import cached_teacher  # noqa: PLC0415
    from sid_trainer.distributed import leave  # noqa: PLC0415
    from sid_trainer.teachers.sd3 import SD3Teacher  # noqa: PLC0415

    torch.set_num_threads(1)
    directory = cached_teacher()
    place = joined(1)
    guidance = {"distillation": {"guidance": {"scale": 4.5}}}
    rank = Rank(run_config(str(directory), 1, training={"batchSize": BATCH}, **guidance), place)
    teacher = SD3Teacher(directory, torch.device("cpu"), torch.float32)
    condition = teacher.encode([PROMPTS[i % len(PROMPTS)] for i in range(BATCH)]).tensors
    empty = teacher.encode([""]).tensors
    reference = Reference(
        directory,
        *(condition["prompt_embeds"], condition["pooled"]),
        *(empty["prompt_embeds"], empty["pooled"]),
        kappas=(4.5, 4.5, 4.5),
        weight=lambda s, x, f: 1 - s,
        shape=teacher.latent_shape(teacher.default_resolution),
    )
    rounds = in_turn(rank.iterate, reference.iterate)
    leave()
    ratios = sorted(ours / theirs for ours, theirs in rounds)
    print(f"machine   {platform.processor() or platform.machine()}, {os.cpu_count()} CPUs")
    print(
        "versions  " + ", ".join(f"{n} {version(n)}" for n in ("torch", "deepspeed", "diffusers"))
    )
    print(f"iteration under ZeRO-3 / in plain PyTorch, digits, batch {BATCH}, 1 process, 1 thread:")
    print(f"  median {statistics.median(ratios):.2f}, {ratios[0]:.2f} to {ratios[-1]:.2f}")


if __name__ == "__main__":
    main()
