"""The Fréchet distance against closed forms and against scipy's matrix square root."""

import numpy as np
import pytest
import scipy.linalg
import torch

from sid_trainer.evaluate.statistics import fitted, frechet_distance


def distance(first: torch.Tensor, second: torch.Tensor) -> float:
    return frechet_distance(fitted(first), fitted(second))


def exactly(mean: torch.Tensor, deviations: torch.Tensor) -> torch.Tensor:
    """Points whose sample mean is ``mean`` and whose covariance is ``diag(deviations²)``."""
    width = len(mean)
    axes = torch.eye(width, dtype=torch.float64) * deviations
    scale = ((2 * width - 1) / 2) ** 0.5
    return mean + torch.cat([axes, -axes]) * scale


def test_equals_the_closed_form_for_axis_aligned_gaussians() -> None:
    mean_1, mean_2 = torch.tensor([1.0, -2.0, 0.5]), torch.tensor([0.0, 2.0, 0.5])
    deviations_1, deviations_2 = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0.5, 2.5, 0.1])
    found = distance(exactly(mean_1, deviations_1), exactly(mean_2, deviations_2))
    closed = (mean_1 - mean_2).square().sum() + (deviations_1 - deviations_2).square().sum()
    assert found == pytest.approx(float(closed), rel=1e-6)


def test_equals_scipy_for_correlated_features() -> None:
    generator = np.random.default_rng(0)
    first = generator.normal(size=(500, 16)) @ generator.normal(size=(16, 16))
    second = generator.normal(size=(300, 16)) @ generator.normal(size=(16, 16)) + 1.0
    covariance_1, covariance_2 = np.cov(first, rowvar=False), np.cov(second, rowvar=False)
    root = scipy.linalg.sqrtm(covariance_1 @ covariance_2).real
    expected = np.sum((first.mean(0) - second.mean(0)) ** 2) + np.trace(
        covariance_1 + covariance_2 - 2 * root
    )
    measured = distance(torch.from_numpy(first), torch.from_numpy(second))
    assert measured == pytest.approx(expected, rel=1e-8)


def test_is_zero_between_equal_sets_even_when_features_are_constant() -> None:
    features = torch.randn(50, 8, generator=torch.Generator().manual_seed(0))
    features[:, 3] = 1.0
    assert distance(features, features) == pytest.approx(0.0, abs=1e-6)


def test_is_symmetric() -> None:
    generator = torch.Generator().manual_seed(1)
    first = torch.randn(40, 6, generator=generator)
    second = 2 * torch.randn(60, 6, generator=generator) + 0.3
    there, back = distance(first, second), distance(second, first)
    assert there == pytest.approx(back, rel=1e-9)


@pytest.mark.parametrize("shape", [(1, 3), (5,), (0, 3)])
def test_refuses_sets_without_a_covariance(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="at least two rows"):
        fitted(torch.zeros(shape))


def test_refuses_features_of_two_widths() -> None:
    with pytest.raises(ValueError, match="features of 3 and 4 numbers"):
        distance(torch.zeros(5, 3), torch.zeros(5, 4))
