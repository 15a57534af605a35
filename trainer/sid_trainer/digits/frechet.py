"""Fréchet distance between two sets of features, as in FID (Heusel et al. 2017, eq. 6)."""

from __future__ import annotations

import torch


def frechet_distance(first: torch.Tensor, second: torch.Tensor) -> float:
    """Return the squared Fréchet distance between Gaussians fitted to ``[N, D]`` and ``[M, D]``.

    ``|m1 - m2|² + tr(C1 + C2 - 2 (C1 C2)^½)``, in double precision. The trace of the square root
    is that of the symmetric ``(C1^½ C2 C1^½)^½``, so no complex numbers appear.

    Raises:
        ValueError: when a set has fewer than two rows or the widths differ.
    """
    for features in (first, second):
        if features.ndim != 2 or len(features) < 2 or features.shape[1] != first.shape[1]:
            raise ValueError(
                f"features of shapes {tuple(first.shape)} and {tuple(second.shape)}: "
                "give [N, D] and [M, D] with at least two rows each"
            )
    first, second = first.double(), second.double()
    covariance_1, covariance_2 = torch.cov(first.T), torch.cov(second.T)
    root = _square_root(covariance_1)
    cross = torch.linalg.eigvalsh(root @ covariance_2 @ root).clamp_min(0).sqrt().sum()
    shift = (first.mean(0) - second.mean(0)).square().sum()
    return float(shift + covariance_1.trace() + covariance_2.trace() - 2 * cross)


def _square_root(matrix: torch.Tensor) -> torch.Tensor:
    """Square root of a symmetric positive semi-definite matrix ``[D, D]``."""
    values, vectors = torch.linalg.eigh(matrix)
    root: torch.Tensor = (vectors * values.clamp_min(0).sqrt()) @ vectors.T
    return root
