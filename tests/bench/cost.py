"""What a run costs in operations: the models at their whole depth, as the examples train them.

Activations are recomputed, the roll-out is shared, and a GPU has several micro-batches, each of
which takes the student's last step once more (:mod:`tests.bench.flops` counts the passes). From
operations to days is a division by a rate that is assumed, not measured.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel

from sid_trainer.config import StudentConfig, TrainingConfig
from tests.bench.flops import CPU, FakeRun, Passes
from tests.bench.report import Section
from tests.bench.shapes import Shape, flux, sana, sd3

IMAGES = 1_000_000
RATE = 400e12
"""FLOPs a second of one GPU that the method needs: below what was seen of compiled blocks with
FlashAttention 4, as GPUs of several nodes also wait for each other."""
SECONDS_A_DAY = 86_400


def whole() -> list[Shape]:
    """The released models in full."""
    return [
        sana("SANA-0.6B", layers=28, heads=36, cross_heads=16),
        sana("SANA-1.6B", layers=20, heads=70, cross_heads=20),
        sd3("SD3-Medium", layers=24, heads=24),
        sd3("SD3.5-Medium", layers=24, heads=24, dual=13, qk_norm="rms_norm"),
        sd3("SD3.5-Large", layers=38, heads=38, qk_norm="rms_norm"),
        flux("FLUX.1-dev", layers=19, single=38),
    ]


def section() -> Section:
    """Operations of a generated image, and what a million of them take."""
    return Section(
        "What a run costs",
        "Operations a generated image of 1024 px: F is one forward of the whole network, by "
        "torch's counter; an iteration of K = 4 with activations recomputed and a shared roll-out "
        "of several micro-batches has so many an image of its batch. Days are computed, for "
        f"{RATE / 1e12:g} TFLOP/s a GPU.",
        ("network", "F, TFLOP", "an image, TFLOP", f"GPU days for {IMAGES:,} images"),
        [_row(shape) for shape in whole()],
    )


def _row(shape: Shape) -> tuple[str, ...]:
    passes = _passes(shape)
    guided = shape.guided_forwards
    image = passes.floor(4, guided, checkpointing=True, shared=True) + passes.forward
    days = IMAGES * image / RATE / SECONDS_A_DAY
    return shape.name, f"{passes.forward / 1e12:.2f}", f"{image / 1e12:.0f}", f"{days:.1f}"


def _passes(shape: Shape) -> Passes:
    training = TrainingConfig(batch_size=1, gradient_checkpointing=False)
    with tempfile.TemporaryDirectory() as folder, FakeTensorMode(), sdpa_kernel(SDPBackend.MATH):
        return FakeRun(shape, Path(folder), CPU, StudentConfig(), training).passes()
