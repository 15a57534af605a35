"""Whether compiled blocks give the right gradients on a GPU: a check that speed comes after."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from sid_trainer.engine.attention import choose_attention
from sid_trainer.engine.blocks import compile_each
from sid_trainer.teachers.base import Teacher
from tests.bench import ranks
from tests.bench.plain import built
from tests.bench.report import Section
from tests.bench.shapes import Shape, flux, sana, sd3

SHAPES: dict[str, Shape] = {
    "sd3": sd3("SD3.5-Medium, 2 layers", layers=2, heads=24, dual=1, qk_norm="rms_norm"),
    "flux": flux("FLUX.1-dev, 1 + 1 layers", layers=1, single=1),
    "sana": sana("SANA-0.6B, 2 layers", layers=2, heads=36, cross_heads=16),
}


def section() -> Section:
    """Compare every shape, in a process of its own."""
    rows = []
    for name, shape in SHAPES.items():
        found = ranks.run("compiled", "cuda", name=name)
        rows.append((shape.name, *(f"{found[way]:.1e}" for way in ("eager", "compiled"))))
    return Section(
        "Gradients of compiled blocks",
        "Relative error of the gradient of all weights of a network in bf16, one image of 1024 px, "
        "against the same network in fp32 with attention spelt out.",
        ("network", "as written", "compiled"),
        rows,
    )


def on_rank(device: str, name: str) -> dict[str, float]:
    """Relative errors of both ways."""
    choose_attention("auto", torch.device(device))
    torch.backends.cudnn.allow_tf32 = False
    with tempfile.TemporaryDirectory() as folder:
        return _errors(SHAPES[name], SHAPES[name].write(Path(folder)), torch.device(device))


def _errors(shape: Shape, directory: Path, device: torch.device) -> dict[str, float]:
    exact = shape.open(directory, device, torch.float32)
    rounded = shape.open(directory, device, torch.bfloat16)
    torch.manual_seed(0)
    network, given = built(exact), _given(exact, shape)
    with sdpa_kernel(SDPBackend.MATH):
        expected = _gradient(exact, network, **given)
    network.bfloat16()
    found = {"eager": _gradient(rounded, network, **given)}
    compile_each(network)
    found["compiled"] = _gradient(rounded, network, **given)
    return {way: float((g - expected).norm() / expected.norm()) for way, g in found.items()}


def _given(teacher: Teacher, shape: Shape) -> dict[str, Any]:
    size = (1, *teacher.latent_shape(shape.resolution))
    return {
        "x": torch.randn(size, device=teacher.device),
        "weight": torch.randn(size, device=teacher.device),
        "condition": shape.encoded(1, teacher.device, torch.float32),
    }


def _gradient(
    teacher: Teacher, network: nn.Module, x: Tensor, weight: Tensor, condition: Any
) -> Tensor:
    """All weights' gradients of a weighted sum of the velocity, in one row."""
    level = torch.full((1,), 0.7, device=x.device)
    condition = condition.to(teacher.device, teacher.dtype)
    velocity = teacher.velocity(network, x.to(teacher.dtype), level, condition)
    (velocity.float() * weight).sum().backward()  # type: ignore[no-untyped-call]
    gradients = [p.grad.float().flatten() for p in network.parameters() if p.grad is not None]
    network.zero_grad()
    return torch.cat(gradients)
