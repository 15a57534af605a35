"""Makes digits teachers: trains autoencoder and transformer, saves a stock pipeline.

The transformer is trained as its large relatives are: rectified flow ``x = (1-σ)·x0 + σ·ε`` with
target velocity ``ε - x0``, the condition dropped for a tenth of the samples so that guidance works,
an exponential moving average of the weights, cosine decay. Everything follows from one seed.
"""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Any

import torch

from sid_trainer.digits import text
from sid_trainer.digits.data import digits
from sid_trainer.digits.families import FAMILIES, DigitsFamily, Encodings, TeacherRecipe
from sid_trainer.digits.progress import Progress
from sid_trainer.digits.prompts import prompts_of
from sid_trainer.digits.seeding import seeded

__all__ = ["TeacherRecipe", "make_teacher", "recipe_of"]


@dataclasses.dataclass(frozen=True)
class EncodedPrompts:
    """All prompts, encoded: rows ``[10, P]`` index them by digit, the last one is the empty prompt.

    Attributes:
        tensors: each ``[10·P + 1, ...]``.
    """

    tensors: Encodings

    def rows(self, labels: torch.Tensor, dropout: float) -> torch.Tensor:
        """Return a random prompt's row for each of the labels ``[B]``, or the empty prompt's."""
        last = len(next(iter(self.tensors.values()))) - 1
        chosen = labels * (last // 10) + torch.randint(last // 10, labels.shape)
        dropped = torch.rand(labels.shape) < dropout
        return chosen.masked_fill(dropped, last)

    def __getitem__(self, rows: torch.Tensor) -> Encodings:
        """The encodings of some rows."""
        return {name: tensor[rows] for name, tensor in self.tensors.items()}


def recipe_of(family: str, seed: int = 0) -> TeacherRecipe:
    """Return the recipe of a family of :data:`FAMILIES`."""
    return dataclasses.replace(FAMILIES[family].recipe, seed=seed)


def make_teacher(output: Path, recipe: TeacherRecipe) -> None:
    """Train a teacher and save it to the directory ``output``."""
    family = FAMILIES[recipe.family]
    with seeded(recipe.seed):
        images, labels = digits()
        pipeline = family.pipeline(family.autoencoder(images, recipe.vae_iterations))
        pipeline.set_progress_bar_config(disable=True)
        latents = family.latents(pipeline.vae, images)
        pipeline.transformer = _train_transformer(family, pipeline, latents, labels, recipe)
    pipeline.save_pretrained(output)


def encode_prompts(family: DigitsFamily, pipeline: Any, tokens: int) -> EncodedPrompts:
    """Encode every prompt and the empty one with the pipeline's own encoders."""
    prompts = [prompt for digit in range(10) for prompt in prompts_of(digit)] + [""]
    with torch.no_grad():
        return EncodedPrompts(family.encode(pipeline, prompts, tokens))


def _train_transformer(
    family: DigitsFamily,
    pipeline: Any,
    latents: torch.Tensor,
    labels: torch.Tensor,
    recipe: TeacherRecipe,
) -> torch.nn.Module:
    """Return the average of the weights over training."""
    short = encode_prompts(family, pipeline, text.MAX_TOKENS)
    padded = family.plain_call_tokens
    long = short if padded is None else encode_prompts(family, pipeline, padded)
    model: torch.nn.Module = pipeline.transformer
    average = copy.deepcopy(model).eval().requires_grad_(False)
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.learning_rate, total_steps=recipe.iterations, pct_start=0.05
    )
    for iteration in (progress := Progress("transformer", recipe.iterations)):
        prompts = short if (iteration + 1) % recipe.long_prompt_every else long
        rows = torch.randint(len(latents), (recipe.batch_size,))
        encoded = prompts[prompts.rows(labels[rows], recipe.condition_dropout)]
        loss = _flow_loss(family, model, latents[rows], encoded)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.gradient_clipping)
        optimizer.step()
        schedule.step()
        _move_towards(average, model, max(1 - recipe.ema_decay, 1 / (iteration + 1)))
        progress.loss = loss.item()
    return average


def _flow_loss(
    family: DigitsFamily, model: torch.nn.Module, latents: torch.Tensor, encoded: Encodings
) -> torch.Tensor:
    """Mean squared error of the velocity at uniform noise levels; latents ``[B, C, h, w]``."""
    sigma = torch.rand(len(latents), 1, 1, 1)
    noise = torch.randn_like(latents)
    x = (1 - sigma) * latents + sigma * noise
    velocity = family.velocity(model, x, sigma.flatten(), encoded)
    loss: torch.Tensor = (velocity - (noise - latents)).square().mean()
    return loss


@torch.no_grad()
def _move_towards(average: torch.nn.Module, model: torch.nn.Module, fraction: float) -> None:
    targets: list[torch.Tensor] = list(model.parameters())
    torch._foreach_lerp_(list(average.parameters()), targets, fraction)
