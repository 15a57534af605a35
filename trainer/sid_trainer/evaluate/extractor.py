"""The network whose features Fréchet distances are measured in: a TorchScript file of the user's.

TorchScript holds the network itself, and reading it runs no Python code. The file that papers mean
by FID is ``inception-2015-12-05.pt`` (Inception v3 as TensorFlow published it, features of the last
pooling layer, D = 2048); StyleGAN and clean-fid read the same file.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sid_trainer.contract import FailureReason, TrainerError

BATCH = 32
"""Images that the extractor takes at a time."""
_FEATURES_ARGUMENT = "return_features"
"""Argument by which StyleGAN's Inception gives features, not class probabilities."""


class FeatureExtractor:
    """Features of images.

    Args:
        path: the TorchScript file.
        device: where it computes; it rests in host memory.
        image_size: side to which images are resized first; as they are when None.

    Raises:
        TrainerError: ``InvalidData`` when the file is not TorchScript.
    """

    def __init__(self, path: Path, device: torch.device, image_size: int | None = None) -> None:
        self._device, self._image_size = device, image_size
        self._network = _load(path)
        arguments = [argument.name for argument in self._network.forward.schema.arguments]
        self._options: dict[str, Any] = (
            {_FEATURES_ARGUMENT: True} if _FEATURES_ARGUMENT in arguments else {}
        )

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        """Features ``[B, D]`` in fp32 on the accelerator, of images ``[B, 3, H, W]`` in uint8."""
        self._network.to(self._device)
        try:
            return torch.cat([self._features(batch) for batch in torch.split(images, BATCH)])
        finally:
            self._network.to("cpu")

    def width(self, resolution: int) -> int:
        """Number of features D of an image of some resolution.

        Raises:
            TrainerError: ``InvalidData`` when the network does not take images.
        """
        blank = torch.zeros(1, 3, resolution, resolution, dtype=torch.uint8)
        try:
            return self.features(blank).shape[1]
        except RuntimeError as error:
            raise TrainerError(
                FailureReason.INVALID_DATA,
                "the feature extractor does not take float32 images "
                f"[1, 3, {resolution}, {resolution}]: {str(error).splitlines()[-1]}",
            ) from error

    def _features(self, images: Tensor) -> Tensor:
        pixels = images.to(self._device, torch.float32)
        if self._image_size is not None:
            pixels = resized(pixels, self._image_size)
        features: Tensor = self._network(pixels, **self._options)
        return features.flatten(1).float()


def resized(pixels: Tensor, size: int) -> Tensor:
    """Square images of another size, ``[B, 3, size, size]``, by the filter that clean-fid takes."""
    return torch.nn.functional.interpolate(
        pixels, (size, size), mode="bicubic", antialias=True, align_corners=False
    ).clamp(0, 255)


def _load(path: Path) -> Any:
    with warnings.catch_warnings():
        # torch.export is to replace TorchScript, but the published Inception is a TorchScript file.
        warnings.simplefilter("ignore", FutureWarning)
        try:
            return torch.jit.load(path, map_location="cpu").eval()  # type: ignore[no-untyped-call]
        except RuntimeError as error:
            raise TrainerError(
                FailureReason.INVALID_DATA,
                f"{path.name} is not a TorchScript file: save the extractor with torch.jit.save",
            ) from error
