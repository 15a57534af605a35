"""A network's weights by name, wherever they come from."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor


class Weights(Protocol):
    """Weights that are read one by one."""

    def __contains__(self, name: object) -> bool:
        """Whether there is a tensor of this name."""

    def read(self, name: str, shape: torch.Size) -> Tensor:
        """One tensor.

        Raises:
            TrainerError: ``InvalidConfiguration`` when it is absent or of another shape.
        """
