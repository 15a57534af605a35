"""The autoencoders of the teacher families: images to the latents that the networks know, and back.

Rules this module keeps:

* An autoencoder is loaded from the pipeline's folder ``vae`` when first needed, rests in host
  memory, and is on the accelerator only while it works, one image at a time.
* Images are ``[B, 3, H, W]`` in [0, 1], latents ``[B, C, H, W]`` as the networks take them; both
  are fp32 in host memory.
"""

from __future__ import annotations

import abc
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch
from diffusers import AutoencoderDC, AutoencoderKL
from torch import Tensor

from sid_trainer.models.pipeline_index import component_config
from sid_trainer.models.weight_files import WeightFiles
from sid_trainer.teachers.loading_errors import loading_errors, refuse_gaps
from sid_trainer.transfer import on_accelerator

FOLDER = "vae"


class Autoencoder(abc.ABC):
    """The autoencoder of a pipeline.

    Args:
        directory: the diffusers pipeline.
        device: accelerator of this process.
        dtype: type that it computes in.
    """

    _class: ClassVar[Any]
    _levels: ClassVar[str]
    """Entry of its config whose length tells the levels of resolution."""

    def __init__(self, directory: Path, device: torch.device, dtype: torch.dtype) -> None:
        self._directory = directory
        self._device = device
        self._dtype = dtype

    @cached_property
    def factor(self) -> int:
        """Pixels a latent, as the pipelines reckon them."""
        levels: list[int] = component_config(self._directory, FOLDER)[self._levels]
        return 1 << (len(levels) - 1)

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Images of latents."""
        unscaled = latents / self._scale + self._shift
        images = self._each(unscaled, lambda row: self._model.decode(row, return_dict=False)[0])
        return (images / 2 + 0.5).clamp(0, 1)

    @torch.no_grad()
    def encode(self, images: Tensor, noise: Tensor | None = None) -> Tensor:
        """Latents of images; the inverse of :meth:`decode`.

        Args:
            images: ``[B, 3, H, W]`` in [0, 1].
            noise: standard normal numbers ``[B, C, H, W]`` for a draw from the posterior, where the
                autoencoder has one; its mean is taken without.
        """
        encoded = self._each(images * 2 - 1, self._encoded)
        return (self._drawn(encoded, noise) - self._shift) * self._scale

    @abc.abstractmethod
    def _encoded(self, image: Tensor) -> Tensor:
        """What the encoder says of the latents of one image."""

    def _drawn(self, encoded: Tensor, noise: Tensor | None) -> Tensor:
        """Latents, neither shifted nor scaled, of what the encoder said."""
        del noise
        return encoded

    @property
    def _scale(self) -> float:
        return float(self._model.config.scaling_factor)

    @property
    def _shift(self) -> float:
        return float(self._model.config.get("shift_factor") or 0.0)

    @cached_property
    def _model(self) -> Any:
        with WeightFiles(self._directory / FOLDER):
            pass  # the library tells less of files that are absent or not whole
        with loading_errors(f"autoencoder ({FOLDER})"):
            model, told = self._class.from_pretrained(
                self._directory,
                subfolder=FOLDER,
                dtype=self._dtype,
                local_files_only=True,
                output_loading_info=True,
            )
            refuse_gaps(f"teacher.model's {FOLDER}", told["missing_keys"])
        return model.eval()

    def _each(self, rows: Tensor, work: Callable[[Tensor], Tensor]) -> Tensor:
        """Rows through ``work`` on the accelerator, one by one; fp32 in host memory."""
        with on_accelerator([self._model], self._device):
            done = [work(row[None].to(self._device, self._dtype)).float().cpu() for row in rows]
        return torch.cat(done)


class ShiftedAutoencoder(Autoencoder):
    """``AutoencoderKL`` as SD3 and FLUX use it: ``z = (vae - shift) * scale``, with a posterior."""

    _class = AutoencoderKL
    _levels = "block_out_channels"

    def _encoded(self, image: Tensor) -> Tensor:
        """Mean and log variance, one after the other along C."""
        parameters: Tensor = self._model.encode(image).latent_dist.parameters
        return parameters

    def _drawn(self, encoded: Tensor, noise: Tensor | None) -> Tensor:
        mean, log_variance = torch.chunk(encoded, 2, dim=1)
        if noise is None:
            return mean
        return mean + (log_variance.clamp(-30, 20) / 2).exp() * noise  # clamped as by diffusers


class DeepCompressionAutoencoder(Autoencoder):
    """``AutoencoderDC`` as SANA uses it: ``z = vae * scale``, without shift and posterior."""

    _class = AutoencoderDC
    _levels = "encoder_block_out_channels"

    def _encoded(self, image: Tensor) -> Tensor:
        latents: Tensor = self._model.encode(image, return_dict=False)[0]
        return latents
