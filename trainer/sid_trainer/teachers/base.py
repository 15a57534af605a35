"""What a teacher family has to provide: the whole of its surface.

Everything else in the trainer is written against :class:`Teacher`, so a new family is one
subclass in a file of its own, its name in :data:`sid_trainer.config.base.Family`, and a line in
:data:`sid_trainer.teachers.ADAPTERS` and :data:`sid_trainer.config.families.PIPELINES` each. A
line in :mod:`sid_trainer.estimate.depth` makes the estimate of a new class of networks quick.

Rules that adapters keep:

* The directory is a stock diffusers pipeline; text encoders and VAE are loaded from it when first
  needed, rest in host memory, and are on the accelerator only inside :meth:`Teacher.encode`,
  :meth:`Teacher.decode` and :meth:`Teacher.encode_images`.
* :meth:`Teacher.velocity` works on any copy of the network (DeepSpeed engine, bare module), keeps
  autograd intact, and speaks flow matching: noise level in [0, 1], velocity ``noise - x0``.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from sid_trainer.config import Family
from sid_trainer.contract import FailureReason, TrainerError
from sid_trainer.method.conditions import Condition, Shapes
from sid_trainer.method.guidance import Velocity
from sid_trainer.models.exported_network import ExportedNetwork
from sid_trainer.models.pipeline_index import NETWORK, component_config
from sid_trainer.models.weights import Weights
from sid_trainer.teachers.autoencoders import Autoencoder
from sid_trainer.teachers.encoder_identity import encoder_identity

Network = Callable[..., Any]
"""A copy of the teacher's network: a module or the DeepSpeed engine around it."""


TIME_SCALE = 1000.0
"""Time that most networks are given for the noise level 1."""


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
    network_class: ClassVar[Any]
    """Its class in diffusers."""
    autoencoder_class: ClassVar[type[Autoencoder]]
    """What makes latents of images, and images of latents."""
    output_projection: ClassVar[str] = "proj_out"
    """Module of the network that makes its output of the image's tokens ``[B, N, D]``, which it is
    given after the final adaptive norm. Data-aided training looks at these tokens."""
    exported_settings: ClassVar[Mapping[str, object]] = {}
    """Settings of a student's network that are other than the teacher's."""

    def __init__(self, directory: Path, device: torch.device, dtype: torch.dtype) -> None:
        self.directory = directory
        self.device = device
        self.dtype = dtype

    @cached_property
    def network_config(self) -> dict[str, Any]:
        """Config of the network that is distilled."""
        return component_config(self.directory, self.network_folder)

    def build_network(self) -> nn.Module:
        """A new network of the teacher's architecture; its weights are not loaded."""
        network: nn.Module = self.network_class.from_config(self.network_config)
        return network

    def meta_network(self, **changes: object) -> nn.Module:
        """A network that has shapes and no memory.

        Args:
            changes: settings that are other than the teacher's.
        """
        with torch.device("meta"):
            network: nn.Module = self.network_class.from_config(self.network_config | changes)
        return network

    @property
    @abc.abstractmethod
    def default_resolution(self) -> int:
        """Height and width in pixels that the teacher was made for."""

    @property
    @abc.abstractmethod
    def resolution_multiple(self) -> int:
        """What resolutions have to be a multiple of, in pixels."""

    @property
    def largest_resolution(self) -> int | None:
        """The largest that the network can be given, in pixels, if there is one."""
        return None

    @property
    def latent_channels(self) -> int:
        """Channels of the latents."""
        return int(self.network_config["in_channels"])

    def latent_shape(self, resolution: int) -> tuple[int, int, int]:
        """``(C, H, W)`` of the latents of a square image.

        Raises:
            TrainerError: ``InvalidConfiguration`` when the resolution does not suit.
        """
        multiple, largest = self.resolution_multiple, self.largest_resolution
        if resolution % multiple or (largest is not None and resolution > largest):
            limit = "" if largest is None else f" up to {largest}"
            raise TrainerError(
                FailureReason.INVALID_CONFIGURATION,
                f"data.resolution {resolution} does not suit this teacher: use a multiple of "
                f"{multiple}{limit}",
            )
        side = resolution // self.autoencoder.factor
        return self.latent_channels, side, side

    @abc.abstractmethod
    def condition_shapes(self) -> Shapes:
        """Shapes of one prompt's condition, from the pipeline's configs alone."""

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

    @cached_property
    def autoencoder(self) -> Autoencoder:
        """The pipeline's autoencoder, loaded when it is first needed."""
        return self.autoencoder_class(self.directory, self.device, self.dtype)

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
        module = self.meta_network(**self.exported_settings)
        call = self.call_arguments(resolution)
        return ExportedNetwork(self.network_folder, module, weights, self.dtype, call=call)

    def call_arguments(self, resolution: int) -> dict[str, object]:
        """What the stock pipeline's call needs to make images of a resolution, if anything."""
        if resolution == self.default_resolution:
            return {}
        return {"height": resolution, "width": resolution}
