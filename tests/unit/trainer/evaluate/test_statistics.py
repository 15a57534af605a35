"""Statistics of features, and the Fréchet distance between them against closed forms and scipy."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
import scipy.linalg
import torch

from sid_trainer.contract import TrainerError
from sid_trainer.evaluate.statistics import (
    FeatureStatistics,
    FeatureSums,
    fitted,
    frechet_distance,
)


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


@pytest.mark.parametrize("odd", [float("nan"), float("inf")])
def test_is_no_number_where_a_feature_is_none(odd: float) -> None:
    features = torch.randn(20, 4, generator=torch.Generator().manual_seed(2))
    spoilt = features.clone()
    spoilt[3, 2] = odd
    for first, second in ((features, spoilt), (spoilt, features), (spoilt, spoilt)):
        assert math.isnan(distance(first, second))


def test_refuses_features_of_two_widths() -> None:
    with pytest.raises(ValueError, match="features of 3 and 4 numbers"):
        distance(torch.zeros(5, 3), torch.zeros(5, 4))


CPU = torch.device("cpu")


def in_parts(features: torch.Tensor, parts: int) -> FeatureStatistics:
    sums = FeatureSums(features.shape[1], CPU)
    for part in features.chunk(parts):
        sums.add(part)
    return sums.statistics()


def test_sums_give_numpys_mean_and_covariance() -> None:
    features = torch.randn(50, 7, generator=torch.Generator().manual_seed(0)) + 30
    statistics = in_parts(features, parts=4)
    np.testing.assert_allclose(statistics.mean, features.double().numpy().mean(0), rtol=1e-12)
    expected = np.cov(features.double().numpy(), rowvar=False)
    np.testing.assert_allclose(statistics.covariance, expected, rtol=1e-9)
    with pytest.raises(ValueError, match="at least two"):
        fitted(features[:1])


@pytest.mark.parametrize("rows", [200, 6])  # 6: fewer images than features
def test_the_distance_is_that_of_the_formula(rows: int) -> None:
    generator = torch.Generator().manual_seed(1)
    first = fitted(torch.randn(rows, 12, generator=generator).double())
    second = fitted(torch.randn(rows, 12, generator=generator).double() * 2 + 1)
    shift = (first.mean - second.mean).numpy()
    a, b = first.covariance.numpy(), second.covariance.numpy()
    offset = np.eye(12) * 1e-12 if rows < 12 else 0
    root = scipy.linalg.sqrtm((a + offset) @ (b + offset)).real
    expected = shift @ shift + np.trace(a + b - 2 * root)
    assert frechet_distance(first, second) == pytest.approx(
        expected, rel=1e-9 if rows > 12 else 1e-4
    )
    assert frechet_distance(first, first) == pytest.approx(0.0, abs=1e-6)
    assert frechet_distance(first, second) == pytest.approx(frechet_distance(second, first))


def test_gaussians_have_a_closed_form() -> None:
    one = FeatureStatistics(torch.zeros(2).double(), torch.diag(torch.tensor([1.0, 4.0])).double())
    two = FeatureStatistics(torch.tensor([3.0, 0]).double(), torch.eye(2).double())
    assert frechet_distance(one, two) == pytest.approx(9 + (1 - 1) ** 2 + (2 - 1) ** 2)


def test_statistics_come_back_from_their_file() -> None:
    statistics = fitted(torch.randn(9, 3, generator=torch.Generator().manual_seed(2)))
    again = FeatureStatistics.from_npz(statistics.to_npz(), "x.npz")
    assert torch.equal(again.mean, statistics.mean)
    assert torch.equal(again.covariance, statistics.covariance)


def test_files_that_are_no_statistics_are_refused_by_name() -> None:
    odd, pickled = io.BytesIO(), io.BytesIO()
    np.savez(odd, mu=np.zeros(3), sigma=np.zeros((2, 2)))
    np.savez(pickled, mu=np.array([{}], dtype=object), sigma=np.zeros((1, 1)))
    for data in (b"no archive", odd.getvalue(), pickled.getvalue()):
        with pytest.raises(TrainerError, match=r"coco\.npz"):
            FeatureStatistics.from_npz(data, "coco.npz")
