"""What a teacher family has to provide: the whole of its surface.

Everything else in the trainer is written against :class:`Teacher`, so a new family is one
subclass in a file of its own and one line in :mod:`sid_trainer.teachers`.

Rules that adapters keep:

* The directory is a stock diffusers pipeline; text encoders and VAE are loaded from it when first
  needed, rest in host memory, and are on the accelerator only inside :meth:`Teacher.encode` and
  :meth:`Teacher.decode`.
* :meth:`Teacher.velocity` works on any copy of the network (DeepSpeed engine, bare module), keeps
  autograd intact, and speaks flow matching: noise level in [0, 1], velocity ``noise - x0``.
"""

from __future__ import annotations

import abc
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from sid_trainer.conditions import Condition
from sid_trainer.config import Family
from sid_trainer.exported_network import ExportedNetwork

Network = Callable[..., Any]
"""A copy of the teacher's network: a module or the DeepSpeed engine around it."""


class Teacher(abc.ABC):
    """A text-to-image pipeline whose network predicts a velocity.

    Args:
        directory: the diffusers pipeline.
        device: accelerator of this process.
        dtype: type that networks, text encoders and VAE compute in.
    """

    family: ClassVar[Family]
    pipelines: ClassVar[frozenset[str]]
    """Names of the diffusers pipeline classes (``_class_name`` of model_index.json)."""
    network_folder: ClassVar[str] = "transformer"
    """Component of the pipeline that is distilled; all others are copied at export."""

    def __init__(self, directory: Path, device: torch.device, dtype: torch.dtype) -> None:
        self.directory = directory
        self.device = device
        self.dtype = dtype

    @abc.abstractmethod
    def build_network(self) -> nn.Module:
        """A new network of the teacher's architecture; its weights are not loaded."""

    @property
    @abc.abstractmethod
    def default_resolution(self) -> int:
        """Height and width in pixels that the teacher was made for."""

    @abc.abstractmethod
    def latent_shape(self, resolution: int) -> tuple[int, int, int]:
        """``(C, H, W)`` of the latents of a square image.

        Raises:
            TrainerError: ``InvalidConfiguration`` when the resolution does not divide.
        """

    @abc.abstractmethod
    def encode(self, prompts: Sequence[str]) -> Condition:
        """Encode prompts as the stock pipeline does, in host memory; row i is prompt i."""

    @abc.abstractmethod
    def velocity(self, network: Network, x: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
        """Velocity ``[B, C, H, W]`` that a network predicts.

        Args:
            network: a copy of the network.
            x: noisy latents ``[B, C, H, W]`` in the network's dtype.
            sigma: noise levels ``[B]``, fp32.
            condition: encoded prompts of the batch, in the network's dtype.
        """

    @abc.abstractmethod
    def decode(self, latents: Tensor) -> Tensor:
        """Images ``[B, 3, H, W]`` in [0, 1], fp32 in host memory, of latents ``[B, C, H, W]``."""

    def exported(self, weights: dict[str, Tensor], resolution: int) -> ExportedNetwork:
        """The student in the form that a stock pipeline runs.

        Args:
            weights: by the names of :meth:`build_network`'s class, in host memory.
            resolution: height and width of its images in pixels.
        """
        with torch.device("meta"):
            module = self.build_network()
        return ExportedNetwork(
            self.network_folder, module, weights, self.dtype, call=self.call_arguments(resolution)
        )

    def call_arguments(self, resolution: int) -> dict[str, object]:
        """What the stock pipeline's call needs to make images of a resolution, if anything."""
        if resolution == self.default_resolution:
            return {}
        return {"height": resolution, "width": resolution}

    def component_config(self, component: str) -> dict[str, Any]:
        """The config.json of a component of the pipeline."""
        text = (self.directory / component / "config.json").read_text(encoding="utf-8")
        config: dict[str, Any] = json.loads(text)
        return config


def decode_images(vae: Any, latents: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Images ``[B, 3, H, W]`` in [0, 1], fp32 in host memory, decoded one by one.

    Args:
        vae: the autoencoder.
        latents: ``[B, C, H, W]`` as the autoencoder takes them, unscaled and unshifted.
        device: where it computes.
        dtype: in which it computes.
    """
    with on_accelerator([vae], device):
        images = [
            vae.decode(row[None].to(device, dtype), return_dict=False)[0].float() for row in latents
        ]
    return (torch.cat(images).cpu() / 2 + 0.5).clamp(0, 1)


@contextmanager
def on_accelerator(modules: Sequence[nn.Module], device: torch.device) -> Iterator[None]:
    """Hold modules on the accelerator for the length of a block, then in host memory again.

    They are not changed meanwhile, so nothing is copied back: the tensors at rest are kept, which
    may be pages of their files that all processes of the node share.
    """
    tables: list[dict[str, Any]] = [
        table
        for module in modules
        for owner in module.modules()
        for table in (owner._parameters, owner._buffers)
    ]
    at_rest = [
        (dict(table), [None if t is None else t.data for t in table.values()]) for table in tables
    ]
    for module in modules:
        module.to(device)
    try:
        yield
    finally:
        for table, (tensors, values) in zip(tables, at_rest, strict=True):
            for tensor, value in zip(tensors.values(), values, strict=True):
                if tensor is not None:
                    tensor.data = value
            table.update(tensors)
        if device.type == "cuda":
            torch.cuda.empty_cache()
