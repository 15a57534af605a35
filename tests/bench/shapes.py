"""Networks to measure: stock diffusers classes of given sizes, and the conditions they take.

A shape has no text encoders and no VAE: prompts' encodings are random numbers of the right shape,
so all that is needed of a teacher's directory is the configuration, and weights where they are run.
Widths and token counts are those of the released models unless a name says otherwise; depths are
cut, which changes no ratio between passes but for the embedders' share, and that only upwards.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sid_trainer.config import Family, TeacherConfig
from sid_trainer.method.conditions import GUIDANCE, Condition
from sid_trainer.teachers import open_teacher
from sid_trainer.teachers.base import Teacher
from tests.bench.plain import built


@dataclass(frozen=True)
class Shape:
    """A network and what it is given.

    Attributes:
        name: for reports.
        family: its adapter's.
        pipeline: diffusers class of the directory.
        network: configuration of the transformer.
        resolution: height and width in pixels.
        condition: shape of each tensor of a prompt's encoding, without the batch axis.
        vae: configuration, as far as adapters read it.
    """

    name: str
    family: Family
    pipeline: str
    network: Mapping[str, Any]
    resolution: int
    condition: Mapping[str, tuple[int, ...]]
    vae: Mapping[str, Any]

    @property
    def guided_forwards(self) -> int:
        """Forwards that one guided prediction takes."""
        return 1 if self.network.get("guidance_embeds") else 2

    def write(self, directory: Path) -> Path:
        """Make ``directory`` a teacher's, without weights."""
        files = {
            "model_index.json": {"_class_name": self.pipeline},
            "transformer/config.json": self.network,
            "vae/config.json": self.vae,
        }
        for name, content in files.items():
            path = directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(content), encoding="utf-8")
        return directory

    def write_weights(self, directory: Path, dtype: torch.dtype, device: str = "cpu") -> Path:
        """Make ``directory`` a teacher's with random weights, equal in every call."""
        teacher = self.open(self.write(directory), torch.device(device), dtype)
        torch.manual_seed(0)
        network: Any = built(teacher)
        network.save_pretrained(directory / teacher.network_folder)
        return directory

    def open(self, directory: Path, device: torch.device, dtype: torch.dtype) -> Teacher:
        """The adapter on a directory that was written."""
        config = TeacherConfig(model=str(directory), family=self.family)
        return open_teacher(config, directory, device, dtype)

    def encoded(self, batch: int, device: torch.device, dtype: torch.dtype) -> Condition:
        """What prompts could be encoded as."""
        tensors = {name: _random(name, (batch, *axes)) for name, axes in self.condition.items()}
        return Condition(tensors).to(device, dtype)


def _random(name: str, axes: tuple[int, ...]) -> Tensor:
    if name in ("mask", GUIDANCE):
        return torch.ones(axes)
    return torch.randn(axes, generator=torch.Generator().manual_seed(len(name)))


_KL = {"block_out_channels": [128, 256, 512, 512]}
_DC = {"encoder_block_out_channels": [128, 256, 512, 512, 1024, 1024]}


def sd3(name: str, *, layers: int, heads: int, dual: int = 0, **options: Any) -> Shape:
    """SD3: two CLIP encodings of 77 tokens in one place and T5's 256 behind them."""
    network = {
        "sample_size": 128,
        "patch_size": 2,
        "in_channels": 16,
        "out_channels": 16,
        "num_layers": layers,
        "attention_head_dim": 64,
        "num_attention_heads": heads,
        "joint_attention_dim": 4096,
        "caption_projection_dim": 64 * heads,
        "pooled_projection_dim": 2048,
        "pos_embed_max_size": 192,
        "dual_attention_layers": list(range(dual)),
        **options,
    }
    condition = {"prompt_embeds": (333, 4096), "pooled": (2048,)}
    return Shape(name, "sd3", "StableDiffusion3Pipeline", network, 1024, condition, _KL)


def flux(name: str, *, layers: int, single: int, **options: Any) -> Shape:
    """FLUX.1-dev: 512 text tokens, the guidance scale an input."""
    network = {
        "in_channels": 64,
        "num_layers": layers,
        "num_single_layers": single,
        "attention_head_dim": 128,
        "num_attention_heads": 24,
        "joint_attention_dim": 4096,
        "pooled_projection_dim": 768,
        "guidance_embeds": True,
        "axes_dims_rope": [16, 56, 56],
        **options,
    }
    condition = {"prompt_embeds": (512, 4096), "pooled": (768,), GUIDANCE: ()}
    return Shape(name, "flux", "FluxPipeline", network, 1024, condition, _KL)


def sana(name: str, *, layers: int, heads: int, cross_heads: int, sprint: bool = False) -> Shape:
    """SANA at 1024 px: 300 text tokens, 32 pixels a latent."""
    width = 32 * heads
    network: dict[str, Any] = {
        "in_channels": 32,
        "out_channels": 32,
        "num_attention_heads": heads,
        "attention_head_dim": 32,
        "num_layers": layers,
        "num_cross_attention_heads": cross_heads,
        "cross_attention_head_dim": width // cross_heads,
        "cross_attention_dim": width,
        "caption_channels": 2304,
        "sample_size": 32,
        "patch_size": 1,
    }
    condition: dict[str, tuple[int, ...]] = {"prompt_embeds": (300, 2304), "mask": (300,)}
    if not sprint:
        return Shape(name, "sana", "SanaPipeline", network, 1024, condition, _DC)
    network |= {
        "guidance_embeds": True,
        "guidance_embeds_scale": 0.1,
        "qk_norm": "rms_norm_across_heads",
    }
    condition |= {GUIDANCE: ()}
    return Shape(name, "sana-sprint", "SanaSprintPipeline", network, 1024, condition, _DC)


def released(depth: int) -> list[Shape]:
    """The released models, a family each or two, with ``depth`` layers of each kind."""
    return [
        sd3("SD3-Medium", layers=depth, heads=24),
        sd3("SD3.5-Medium", layers=2 * depth, heads=24, dual=depth, qk_norm="rms_norm"),
        sd3("SD3.5-Large", layers=depth, heads=38, qk_norm="rms_norm"),
        flux("FLUX.1-dev", layers=depth, single=2 * depth),
        sana("SANA-0.6B", layers=depth, heads=36, cross_heads=16),
        sana("SANA-1.6B", layers=depth, heads=70, cross_heads=20),
        sana("SANA-Sprint-1.6B", layers=depth, heads=70, cross_heads=20, sprint=True),
    ]


def small(name: str, *, width: int, layers: int, side: int, tokens: int) -> Shape:
    """An SD3 of any size, for machines without accelerator.

    Args:
        name: for reports.
        width: of its tokens.
        layers: its depth.
        side: height and width of its latents; a token is 2x2 of them.
        tokens: of a prompt.
    """
    shape = sd3(
        name,
        layers=layers,
        heads=max(1, width // 64),
        attention_head_dim=min(64, width),
        caption_projection_dim=width,
        joint_attention_dim=64,
        pooled_projection_dim=64,
        sample_size=side,
        pos_embed_max_size=side // 2,
        in_channels=4,
        out_channels=4,
    )
    condition = {"prompt_embeds": (tokens, 64), "pooled": (64,)}
    return replace(shape, resolution=8 * side, condition=condition)
