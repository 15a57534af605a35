"""The tokens that data-aided training looks at, in each family's own network.

What the output projection makes of them, by hand, is the whole of the network's output: so they
are the image's tokens, all of them, after everything but that projection.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from sid_trainer.config import TeacherConfig
from sid_trainer.method.adversarial import final_tokens
from sid_trainer.teachers import Teacher, open_teacher

BATCH = 2
PATCHES: dict[str, tuple[int, int]] = {
    "sana": (128, 1),
    "sana-sprint": (128, 1),
    "flux": (16, 2),
}
"""Resolution, and latent pixels along the side of a token."""


def opened(directory: Path) -> tuple[Teacher, Any]:
    model = TeacherConfig(model="teacher")
    teacher = open_teacher(model, directory, torch.device("cpu"), torch.float32)
    network: Any = teacher.build_network()
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return teacher, network


def images_of(values: Tensor, shape: tuple[int, int, int], patch: int, family: str) -> Tensor:
    """Latents of what the projection made for each token ``[B, N, patch^2 C]``."""
    channels, height, width = shape
    rows, columns = height // patch, width // patch
    if family == "flux":  # packed with the channel first
        cells = values.reshape(BATCH, rows, columns, channels, patch, patch)
        return cells.permute(0, 3, 1, 4, 2, 5).reshape(BATCH, *shape)
    cells = values.reshape(BATCH, rows, columns, patch, patch, channels)
    return cells.permute(0, 5, 1, 3, 2, 4).reshape(BATCH, *shape)


@pytest.mark.parametrize("family", PATCHES)
@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_projection_makes_the_whole_output_of_them(
    tiny_pipeline: Callable[[str], Path], family: str, checkpointing: bool
) -> None:
    teacher, network = opened(tiny_pipeline(family))
    if checkpointing:
        network.enable_gradient_checkpointing()
    resolution, patch = PATCHES[family]
    shape = teacher.latent_shape(resolution)
    x = torch.randn(BATCH, *shape, requires_grad=True)
    sigma = torch.tensor([0.3, 0.8])
    condition = teacher.encode(["one", "two words"])
    with final_tokens(network, teacher.output_projection) as taken:
        velocity = teacher.velocity(network.train(), x, sigma, condition)
        tokens = taken.only()
        (gradient,) = torch.autograd.grad(tokens.square().mean(), x, retain_graph=True)
    assert taken.only() is tokens  # recomputed activations give no second one
    assert tokens.shape[:2] == (BATCH, shape[1] * shape[2] // patch**2)
    projection = network.get_submodule(teacher.output_projection)
    values = torch.einsum("bnd,od->bno", tokens, projection.weight) + projection.bias
    expected = images_of(values, shape, patch, family)
    torch.testing.assert_close(velocity, expected, rtol=1e-4, atol=1e-5)
    assert bool(gradient.abs().amax((1, 2, 3)).gt(0).all())
