"""Mean and covariance of features, gathered as sums, and the Fréchet distance of two of them.

Rules this module keeps:

* Sums are float64, so that they can be added over chunks and ranks in any order.
* The covariance is the unbiased one (``N - 1``), as numpy's ``cov`` in every FID implementation.
* Files are ``.npz`` with ``mu [D]`` and ``sigma [D, D]``, as pytorch-fid and clean-fid write them.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sid_trainer.contract import FailureReason, TrainerError


@dataclass(frozen=True)
class FeatureStatistics:
    """A Gaussian fitted to features.

    Attributes:
        mean: ``[D]``, float64 in host memory.
        covariance: ``[D, D]``, float64 in host memory.
    """

    mean: Tensor
    covariance: Tensor

    @property
    def is_finite(self) -> bool:
        """Whether all of it are finite numbers."""
        return all(bool(each.isfinite().all()) for each in (self.mean, self.covariance))

    def to_npz(self) -> bytes:
        """The file's content."""
        buffer = io.BytesIO()
        np.savez(buffer, mu=self.mean.numpy(), sigma=self.covariance.numpy())
        return buffer.getvalue()

    @classmethod
    def from_npz(cls, data: bytes, source: str) -> FeatureStatistics:
        """Read a file of ours, pytorch-fid's or clean-fid's.

        Raises:
            TrainerError: ``InvalidData`` when it holds no statistics; pickled content is refused.
        """
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
                mean, covariance = (
                    torch.from_numpy(arrays[name].astype(np.float64)) for name in ("mu", "sigma")
                )
        except (ValueError, KeyError, OSError) as error:
            raise TrainerError(
                FailureReason.INVALID_DATA,
                f"{source} is no .npz with mu and sigma ({error}): give statistics as pytorch-fid "
                "and clean-fid write them, or a folder of images",
            ) from error
        if mean.ndim != 1 or covariance.shape != (len(mean), len(mean)):
            raise TrainerError(
                FailureReason.INVALID_DATA,
                f"{source} has mu {list(mean.shape)} and sigma {list(covariance.shape)}: they must "
                "be [D] and [D, D]",
            )
        return cls(mean, covariance)


class FeatureSums:
    """Sums of features and of their products, from which the statistics follow.

    Args:
        width: number of features D.
        device: where sums are kept.
    """

    def __init__(self, width: int, device: torch.device) -> None:
        # Products, sums in the last row and column, and the count in the corner.
        self._sums = torch.zeros(width + 1, width + 1, dtype=torch.float64, device=device)

    def add(self, features: Tensor) -> None:
        """Add features ``[B, D]``."""
        rows = torch.nn.functional.pad(features.to(self._sums), (0, 1), value=1.0)
        self._sums += rows.T @ rows

    def all_reduce(self) -> None:
        """Add those of all ranks; a collective."""
        torch.distributed.all_reduce(self._sums)

    @property
    def count(self) -> int:
        """Number of images."""
        return int(self._sums[-1, -1])

    def statistics(self) -> FeatureStatistics:
        """Mean and covariance.

        Raises:
            ValueError: for fewer than two images.
        """
        sums, count = self._sums.cpu(), self.count
        if count < 2:
            raise ValueError(f"statistics need at least two images, not {count}")
        mean = sums[-1, :-1] / count
        covariance = (sums[:-1, :-1] - count * torch.outer(mean, mean)) / (count - 1)
        return FeatureStatistics(mean, covariance)


def fitted(features: Tensor) -> FeatureStatistics:
    """Mean and covariance of features ``[N, D]``.

    Raises:
        ValueError: when there are fewer than two rows.
    """
    if features.ndim != 2 or len(features) < 2:
        raise ValueError(f"features {list(features.shape)}: give [N, D] with at least two rows")
    sums = FeatureSums(features.shape[1], features.device)
    sums.add(features)
    return sums.statistics()


def frechet_distance(first: FeatureStatistics, second: FeatureStatistics) -> float:
    """Squared Fréchet distance of two Gaussians (Heusel et al. 2017, eq. 6).

    ``|m1 - m2|² + tr(C1 + C2 - 2 (C1 C2)^½)``. The trace of the square root is that of the
    symmetric ``(C1^½ C2 C1^½)^½``: no complex numbers, and eigenvalues to full precision even where
    there are fewer images than features. NaN where either is not finite: eigenvalues of such a
    matrix cannot be had.

    Raises:
        ValueError: when the widths differ.
    """
    if first.mean.shape != second.mean.shape:
        raise ValueError(f"features of {len(first.mean)} and {len(second.mean)} numbers")
    if not (first.is_finite and second.is_finite):
        return math.nan
    root = _square_root(first.covariance)
    cross = torch.linalg.eigvalsh(root @ second.covariance @ root).clamp_min(0).sqrt().sum()
    shift = (first.mean - second.mean).square().sum()
    return float(shift + first.covariance.trace() + second.covariance.trace() - 2 * cross)


def _square_root(matrix: Tensor) -> Tensor:
    """Square root of a symmetric positive semi-definite matrix ``[D, D]``."""
    values, vectors = torch.linalg.eigh(matrix)
    root: Tensor = (vectors * values.clamp_min(0).sqrt()) @ vectors.T
    return root
