"""The fixed feature extractor of the judge: a small CNN that classifies the digits.

It is trained from one seed on all digits within seconds, so it need not be stored. Its 64
penultimate features are what Fréchet distances are measured in, its logits give class accuracy.
"""

from __future__ import annotations

import torch
from torch import nn

from sid_trainer.digits.data import digits
from sid_trainer.digits.seeding import seeded

FEATURES = 64
_SEED, _ITERATIONS, _BATCH = 1234, 600, 128


class DigitsClassifier(nn.Module):
    """Classifier of images ``[B, 3, 8, 8]`` in [-1, 1]; the channels are averaged."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Conv2d(1, 32, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 64, 3, padding=1, stride=2),
            nn.ReLU(),
            nn.Conv2d(64, 64, 3, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(64 * 4 * 4, FEATURES),
            nn.ReLU(),
        )
        self.head = nn.Linear(FEATURES, 10)

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Return the penultimate features ``[B, 64]``."""
        features: torch.Tensor = self.trunk(images.mean(1, keepdim=True))
        return features

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return class logits ``[B, 10]``."""
        logits: torch.Tensor = self.head(self.features(images))
        return logits


def trained_extractor() -> DigitsClassifier:
    """Return the extractor, trained (about five seconds on one core) and frozen."""
    images, labels = digits()
    with seeded(_SEED):
        model = DigitsClassifier()
        _fit(model, images, labels)
    return model.eval().requires_grad_(False)


def _fit(model: DigitsClassifier, images: torch.Tensor, labels: torch.Tensor) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, _ITERATIONS)
    for _ in range(_ITERATIONS):
        rows = torch.randint(len(images), (_BATCH,))
        loss = nn.functional.cross_entropy(model(images[rows]), labels[rows])
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        schedule.step()
