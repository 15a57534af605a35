"""The judge of the digits as files that a run's own evaluation takes.

``extractor.pt`` is the judge's classifier as TorchScript (``evaluation.metrics.fid.features``), and
``digits.npz`` has the statistics of all real digits in its features (``fid.images.uri``). So a
run's ``fid`` is the judge's distance to the digits, of images as a file would hold them.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from torch import nn

from sid_trainer.digits.data import IMAGE_SIZE, digits
from sid_trainer.digits.extractor import DigitsClassifier, trained_extractor
from sid_trainer.evaluate.pixels import to_uint8
from sid_trainer.evaluate.statistics import fitted

EXTRACTOR, STATISTICS = "extractor.pt", "digits.npz"


class PixelFeatures(nn.Module):
    """Features ``[B, 64]`` of images ``[B, 3, H, W]`` in 0..255, H = W a multiple of 8.

    Args:
        classifier: gives them for images of 8x8 pixels.
    """

    def __init__(self, classifier: DigitsClassifier) -> None:
        super().__init__()
        self.trunk = classifier.trunk

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the features."""
        small = nn.functional.adaptive_avg_pool2d(images, (IMAGE_SIZE, IMAGE_SIZE))
        features: torch.Tensor = self.trunk((small / 127.5 - 1).mean(1, keepdim=True))
        return features


def write_judge(folder: Path) -> None:
    """Write both files (about five seconds on one core)."""
    folder.mkdir(parents=True, exist_ok=True)
    features = PixelFeatures(trained_extractor()).eval()
    images = to_uint8(digits()[0] / 2 + 0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # see sid_trainer.evaluate.extractor
        traced = torch.jit.trace(features, images[:2].float())  # type: ignore[no-untyped-call]
        torch.jit.save(traced, folder / EXTRACTOR)
    with torch.no_grad():
        statistics = fitted(features(images.float()))
    (folder / STATISTICS).write_bytes(statistics.to_npz())
