"""What a teacher family has to provide: the whole of its surface.

Everything else in the trainer is written against :class:`Teacher`, so a new family is one
subclass in a file of its own and a line in :mod:`sid_trainer.teachers` and
:mod:`sid_trainer.config.families` each.

Rules that adapters keep:

* The directory is a stock diffusers pipeline; text encoders and VAE are loaded from it when first
  needed, rest in host memory, and are on the accelerator only inside :meth:`Teacher.encode`,
  :meth:`Teacher.decode` and :meth:`Teacher.encode_images`.
* :meth:`Teacher.velocity` works on any copy of the network (DeepSpeed engine, bare module), keeps
  autograd intact, and speaks flow matching: noise level in [0, 1], velocity ``noise - x0``.
"""

from __future__ import annotations

import abc
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from sid_trainer.config import Family
from sid_trainer.contract import FailureReason, TrainerError
from sid_trainer.method.conditions import Condition
from sid_trainer.method.guidance import Velocity
from sid_trainer.models.exported_network import ExportedNetwork
from sid_trainer.models.pipeline_index import NETWORK
from sid_trainer.models.weights import Weights
from sid_trainer.teachers.encoder_identity import encoder_identity

Network = Callable[..., Any]
"""A copy of the teacher's network: a module or the DeepSpeed engine around it."""


class ImageCoder(Protocol):
    """An autoencoder, as :mod:`sid_trainer.teachers.autoencoders` has one for each kind."""

    @property
    def factor(self) -> int:
        """Pixels a latent."""

    def decode(self, latents: Tensor) -> Tensor:
        """See :meth:`Teacher.decode`."""

    def encode(self, images: Tensor, noise: Tensor | None = None) -> Tensor:
        """See :meth:`Teacher.encode_images`."""


class Teacher(abc.ABC):
    """A text-to-image pipeline whose network predicts a velocity.

    Args:
        directory: the diffusers pipeline.
        device: accelerator of this process.
        dtype: type that networks, text encoders and VAE compute in.
    """

    family: ClassVar[Family]
    network_folder: ClassVar[str] = NETWORK
    """Component of the pipeline that is distilled; all others are copied at export."""
    output_projection: ClassVar[str] = "proj_out"
    """Module of the network that makes its output of the image's tokens ``[B, N, D]``, which it is
    given after the final adaptive norm. Data-aided training looks at these tokens."""

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
        """Encode prompts as the stock pipeline does, in host memory; row i is prompt i.

        The text encoders visit the accelerator once, however many prompts there are.
        """

    @property
    @abc.abstractmethod
    def encoding_settings(self) -> Mapping[str, Any]:
        """What encodings depend on besides prompt, encoders, tokenizers and dtype: JSON.

        Nothing is loaded for it.
        """

    def encoding_identity(self) -> dict[str, Any]:
        """All that encodings depend on besides the prompt: JSON.

        It reads the text encoders' files, which takes seconds, once a node.
        """
        return {
            "family": self.family,
            "dtype": str(self.dtype),
            "settings": dict(self.encoding_settings),
            **encoder_identity(self.directory),
        }

    @abc.abstractmethod
    def velocity(self, network: Network, x: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
        """Velocity ``[B, C, H, W]`` that a network predicts.

        Args:
            network: a copy of the network.
            x: noisy latents ``[B, C, H, W]`` in the network's dtype.
            sigma: noise levels ``[B]``, fp32.
            condition: encoded prompts of the batch, in the network's dtype.
        """

    def fp32_velocity(self, network: Network) -> Velocity:
        """The network in fp32 terms: latents go in and velocities come out as fp32."""

        def velocity(x: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
            return self.velocity(network, x.to(self.dtype), sigma, condition).float()

        return velocity

    def resolution(self, asked: int | None) -> int:
        """Height and width in pixels of a run's images: ``data.resolution``, or the teacher's."""
        return asked or self.default_resolution

    @property
    @abc.abstractmethod
    def autoencoder(self) -> ImageCoder:
        """What makes latents of images, and images of latents."""

    def decode(self, latents: Tensor) -> Tensor:
        """Images ``[B, 3, H, W]`` in [0, 1], fp32 in host memory, of latents ``[B, C, H, W]``."""
        return self.autoencoder.decode(latents)

    def encode_images(self, images: Tensor, noise: Tensor | None = None) -> Tensor:
        """Latents ``[B, C, H, W]``, fp32 in host memory, of images: the inverse of :meth:`decode`.

        Args:
            images: ``[B, 3, H, W]`` in [0, 1].
            noise: standard normal numbers ``[B, C, H, W]`` for a draw from the posterior, as the
                teachers were trained on; its mean is taken without. DC-AE has none.
        """
        return self.autoencoder.encode(images, noise)

    def weights(self, stored: Weights) -> Weights:
        """A pipeline's weights by the names of :meth:`build_network`'s class.

        Args:
            stored: of the teacher, or of a student that :meth:`exported` made.
        """
        return stored

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
        return component_config(self.directory, component)


def component_config(directory: Path, component: str) -> dict[str, Any]:
    """The config.json of a component of a pipeline.

    Raises:
        TrainerError: ``NotFound`` when the pipeline lacks it, ``InvalidData`` when it is damaged.
    """
    try:
        text = (directory / component / "config.json").read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise TrainerError(
            FailureReason.NOT_FOUND,
            f"teacher.model has no {component}/config.json: give the whole directory of a "
            "diffusers pipeline, as save_pretrained writes it",
        ) from error
    try:
        config: dict[str, Any] = json.loads(text)
    except ValueError as error:
        raise TrainerError(
            FailureReason.INVALID_DATA,
            f"teacher.model's {component}/config.json is not JSON ({error}): download it again",
        ) from error
    return config


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
