"""The digits judge as files: what a run's evaluation measures is what the judge measures."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sid_trainer.digits.cli import main
from sid_trainer.digits.data import digits
from sid_trainer.digits.extractor import trained_extractor
from sid_trainer.evaluate.extractor import FeatureExtractor
from sid_trainer.evaluate.pixels import to_uint8
from sid_trainer.evaluate.reference import read_statistics
from sid_trainer.evaluate.statistics import fitted, frechet_distance


def test_both_distances_agree(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["judge", "--output", str(tmp_path)]) == 0
    assert str(tmp_path) in capsys.readouterr().out
    real = digits()[0]
    noise = torch.randn(real.shape, generator=torch.Generator().manual_seed(0))
    noisy = (real + 0.3 * noise).clamp(-1, 1)
    extractor = FeatureExtractor(tmp_path / "extractor.pt", torch.device("cpu"))
    assert extractor.width(16) == 64
    found = fitted(extractor.features(to_uint8(noisy / 2 + 0.5)))
    ours = frechet_distance(found, read_statistics(str(tmp_path / "digits.npz"), None))
    judge = trained_extractor()
    theirs = frechet_distance(fitted(judge.features(noisy)), fitted(judge.features(real)))
    assert ours == pytest.approx(theirs, rel=0.01)  # ours are rounded to 8 bits
    assert ours > 1
