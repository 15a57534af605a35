"""What looks at images: sums over a rank's images, which are then added up over ranks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from sid_trainer.config import MetricsConfig, ScoreModelConfig
from sid_trainer.config.endpoint import Server
from sid_trainer.evaluate.extractor import FeatureExtractor
from sid_trainer.evaluate.kept import file_digest
from sid_trainer.evaluate.similarity import ClipModel
from sid_trainer.evaluate.statistics import FeatureStatistics, FeatureSums
from sid_trainer.models.fetching import fetch_file, fetch_folder
from sid_trainer.process.failures import naming


class FeatureJudge:
    """Statistics of the images' features.

    Args:
        extractor: gives the features.
        width: their number D.
        device: where sums are kept.
    """

    def __init__(self, extractor: FeatureExtractor, width: int, device: torch.device) -> None:
        self._extractor = extractor
        self._sums = FeatureSums(width, device)

    def add(self, images: Tensor) -> None:
        """Add the features of images ``[B, 3, H, W]`` in uint8."""
        self._sums.add(self._extractor.features(images))

    def all_reduce(self) -> None:
        """Add the sums of all ranks; a collective."""
        self._sums.all_reduce()

    @property
    def count(self) -> int:
        """Images that were added."""
        return self._sums.count

    def statistics(self) -> FeatureStatistics:
        """Of all images."""
        return self._sums.statistics()


class ScoreJudge:
    """Mean of a score of image and caption.

    Args:
        model: gives the scores.
        device: where sums are kept.
    """

    def __init__(self, model: ClipModel, device: torch.device) -> None:
        self._model = model
        self._sums = torch.zeros(2, dtype=torch.float64, device=device)

    def add(self, images: Tensor, captions: Sequence[str]) -> None:
        """Add the scores of images ``[B, 3, H, W]`` in uint8, with a caption each."""
        scores = self._model.scores(images, captions).double()
        self._sums += torch.stack([scores.sum(), scores.new_tensor(len(scores))]).to(self._sums)

    def all_reduce(self) -> None:
        """Add the sums of all ranks; a collective."""
        torch.distributed.all_reduce(self._sums)

    def mean(self) -> float:
        """Over all images."""
        total, count = self._sums.tolist()
        return float(total / count)


class Panel:
    """All judges of one set of images.

    Args:
        features: judge of their distribution, if distances are asked for.
        scores: judges of each image, by the name of the metric.
    """

    def __init__(self, features: FeatureJudge | None, scores: dict[str, ScoreJudge]) -> None:
        self.features = features
        self._scores = scores

    def add(self, images: Tensor, captions: Sequence[str]) -> None:
        """Judge images ``[B, 3, H, W]`` in uint8, B > 0, with a caption each."""
        if self.features is not None:
            self.features.add(images)
        for judge in self._scores.values():
            judge.add(images, captions)

    def all_reduce(self) -> None:
        """Add the sums of all ranks; a collective."""
        if self.features is not None:
            self.features.all_reduce()
        for judge in self._scores.values():
            judge.all_reduce()

    def means(self) -> dict[str, float]:
        """Mean scores over all images, by the name of the metric."""
        return {name: judge.mean() for name, judge in self._scores.items()}


@dataclass(frozen=True)
class JudgeModels:
    """The networks that judge, loaded; those that are not asked for are not there.

    Attributes:
        extractor: for Fréchet distances.
        width: number of its features.
        digest: of its file.
        scorers: by the name of the metric.
        device: where judges keep their sums.
    """

    extractor: FeatureExtractor | None
    width: int
    digest: str
    scorers: dict[str, ClipModel]
    device: torch.device

    def features(self) -> FeatureJudge:
        """A new judge of distributions.

        Raises:
            ValueError: when distances were not asked for.
        """
        if self.extractor is None:
            raise ValueError("evaluation.metrics.fid is not set")
        return FeatureJudge(self.extractor, self.width, self.device)

    def panel(self) -> Panel:
        """New judges of one set of images."""
        scores = {name: ScoreJudge(model, self.device) for name, model in self.scorers.items()}
        return Panel(self.features() if self.extractor is not None else None, scores)


def load_judges(
    metrics: MetricsConfig, endpoint: Server, device: torch.device, resolution: int
) -> JudgeModels:
    """Fetch and load the judges.

    Args:
        metrics: which.
        endpoint: the S3 server, or its URL; AWS when None.
        device: where they compute.
        resolution: height and width of the images.

    Raises:
        TrainerError: naming the field whose value cannot be had or used.
    """
    extractor, width, digest = None, 0, ""
    if metrics.fid is not None:
        with naming("evaluation.metrics.fid.features"):
            file = fetch_file(metrics.fid.features, endpoint)
            extractor = FeatureExtractor(file, device, metrics.fid.image_size)
            width, digest = extractor.width(resolution), file_digest(file)
    scorers = {}
    if metrics.clip_score is not None:
        with naming("evaluation.metrics.clipScore.model"):
            folder = _folder(metrics.clip_score, endpoint)
            scorers["clipScore"] = ClipModel(folder, device, scaled=False)
    if metrics.preference is not None:
        with naming("evaluation.metrics.preference.model"):
            folder = _folder(metrics.preference, endpoint)
            scorers["preferenceScore"] = ClipModel(folder, device, scaled=True)
    return JudgeModels(extractor, width, digest, scorers, device)


def _folder(judge: ScoreModelConfig, endpoint: Server) -> Path:
    return fetch_folder(judge.model, judge.revision, endpoint)
