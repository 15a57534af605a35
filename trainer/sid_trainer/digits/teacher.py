"""Makes the digits teacher: trains VAE and transformer, saves a ``StableDiffusion3Pipeline``.

The transformer is trained as its large relatives are: rectified flow ``x = (1-σ)·x0 + σ·ε`` with
target velocity ``ε - x0``, the condition dropped for a tenth of the samples so that guidance works,
an exponential moving average of the weights, cosine decay. Everything follows from one seed.
"""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path

import torch
from diffusers import (
    FlowMatchEulerDiscreteScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
)

from sid_trainer.digits import text
from sid_trainer.digits.data import digits
from sid_trainer.digits.progress import Progress
from sid_trainer.digits.prompts import prompts_of
from sid_trainer.digits.seeding import seeded
from sid_trainer.digits.vae import LATENT_CHANNELS, encode, train_vae

PIPELINE_DEFAULT_TOKENS = 256
"""T5 tokens of a plain pipeline call: the default of its ``max_sequence_length``."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TeacherRecipe:
    """How the teacher is trained. The defaults take about two minutes on one core."""

    seed: int = 0
    vae_iterations: int = 1000
    iterations: int = 2500
    batch_size: int = 64
    learning_rate: float = 4e-3
    """Peak, after a short warm-up; half of it leaves three times the Fréchet distance."""
    gradient_clipping: float = 1.0
    ema_decay: float = 0.998
    condition_dropout: float = 0.1
    long_prompt_every: int = 32
    """Every how many iterations prompts have the plain call's 256 T5 tokens, not 8: those cost
    ten times as much, and a few suffice for the teacher to be good with both."""


@dataclasses.dataclass(frozen=True)
class Encodings:
    """Encoded prompts: rows ``[10, P]`` index them by digit; the last row is the empty prompt."""

    sequence: torch.Tensor
    """``[10·P + 1, L, D]``"""
    pooled: torch.Tensor
    """``[10·P + 1, E]``"""

    def rows(self, labels: torch.Tensor, dropout: float) -> torch.Tensor:
        """Return a random prompt's row for each of the labels ``[B]``, or the empty prompt's."""
        per_digit = (len(self.pooled) - 1) // 10
        chosen = labels * per_digit + torch.randint(per_digit, labels.shape)
        dropped = torch.rand(labels.shape) < dropout
        return chosen.masked_fill(dropped, len(self.pooled) - 1)


def make_teacher(output: Path, recipe: TeacherRecipe) -> None:
    """Train a teacher and save it to the directory ``output``."""
    with seeded(recipe.seed):
        images, labels = digits()
        pipeline = _untrained_pipeline(train_vae(images, recipe.vae_iterations))
        latents = encode(pipeline.vae, images)
        pipeline.transformer = _train_transformer(pipeline, latents, labels, recipe)
    pipeline.save_pretrained(output)


def encode_prompts(pipeline: StableDiffusion3Pipeline, max_tokens: int) -> Encodings:
    """Encode every prompt and the empty one with the pipeline's own encoders."""
    prompts = [prompt for digit in range(10) for prompt in prompts_of(digit)] + [""]
    with torch.no_grad():
        sequence, _, pooled, _ = pipeline.encode_prompt(
            prompts, None, None, do_classifier_free_guidance=False, max_sequence_length=max_tokens
        )
    return Encodings(sequence, pooled)


def _untrained_pipeline(vae: torch.nn.Module) -> StableDiffusion3Pipeline:
    clip_tokenizer, t5_tokenizer = text.clip_tokenizer(), text.t5_tokenizer()
    pipeline = StableDiffusion3Pipeline(
        transformer=_untrained_transformer(),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=1.0),
        vae=vae,
        text_encoder=text.clip_encoder(clip_tokenizer, seed=1),
        tokenizer=clip_tokenizer,
        text_encoder_2=text.clip_encoder(clip_tokenizer, seed=2),
        tokenizer_2=text.clip_tokenizer(),
        text_encoder_3=text.t5_encoder(t5_tokenizer, seed=3),
        tokenizer_3=t5_tokenizer,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _untrained_transformer() -> SD3Transformer2DModel:
    heads, head_width = 4, 16
    return SD3Transformer2DModel(
        sample_size=4,
        patch_size=1,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        num_layers=2,
        attention_head_dim=head_width,
        num_attention_heads=heads,
        joint_attention_dim=text.JOINT_WIDTH,
        caption_projection_dim=heads * head_width,
        pooled_projection_dim=text.POOLED_WIDTH,
        pos_embed_max_size=4,
    )


def _train_transformer(
    pipeline: StableDiffusion3Pipeline,
    latents: torch.Tensor,
    labels: torch.Tensor,
    recipe: TeacherRecipe,
) -> SD3Transformer2DModel:
    """Return the average of the weights over training."""
    short = encode_prompts(pipeline, text.MAX_TOKENS)
    long = encode_prompts(pipeline, PIPELINE_DEFAULT_TOKENS)
    model = pipeline.transformer
    average = copy.deepcopy(model).eval().requires_grad_(False)
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.learning_rate, total_steps=recipe.iterations, pct_start=0.05
    )
    for iteration in (progress := Progress("transformer", recipe.iterations)):
        encodings = short if (iteration + 1) % recipe.long_prompt_every else long
        rows = torch.randint(len(latents), (recipe.batch_size,))
        prompts = encodings.rows(labels[rows], recipe.condition_dropout)
        loss = _flow_loss(
            model, latents[rows], encodings.sequence[prompts], encodings.pooled[prompts]
        )
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.gradient_clipping)
        optimizer.step()
        schedule.step()
        _move_towards(average, model, max(1 - recipe.ema_decay, 1 / (iteration + 1)))
        progress.loss = loss.item()
    return average


def _flow_loss(
    model: SD3Transformer2DModel,
    latents: torch.Tensor,
    sequence: torch.Tensor,
    pooled: torch.Tensor,
) -> torch.Tensor:
    """Mean squared error of the velocity at uniform noise levels; latents ``[B, C, h, w]``."""
    sigma = torch.rand(len(latents), 1, 1, 1)
    noise = torch.randn_like(latents)
    velocity = model(
        hidden_states=(1 - sigma) * latents + sigma * noise,
        timestep=sigma.flatten() * 1000,
        encoder_hidden_states=sequence,
        pooled_projections=pooled,
        return_dict=False,
    )[0]
    loss: torch.Tensor = (velocity - (noise - latents)).square().mean()
    return loss


@torch.no_grad()
def _move_towards(average: torch.nn.Module, model: torch.nn.Module, fraction: float) -> None:
    targets: list[torch.Tensor] = list(model.parameters())
    torch._foreach_lerp_(list(average.parameters()), targets, fraction)
