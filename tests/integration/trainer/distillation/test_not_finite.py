"""Judges that give NaN for some image: their metrics are left out, and the run goes on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from judges import write_judges
from test_reference_images import configuration
from torch import Tensor

from sid_trainer.config import RunConfig
from sid_trainer.contract import FailureReason, TrainerError
from sid_trainer.engine.distributed import Place
from sid_trainer.evaluate.evaluator import Evaluator
from sid_trainer.evaluate.extractor import FeatureExtractor
from sid_trainer.evaluate.judges import JudgeModels, load_judges
from sid_trainer.evaluate.ranks import Ranks
from sid_trainer.evaluate.sampling import Draw
from sid_trainer.method.conditions import Condition
from sid_trainer.process.group import SoloGroup
from sid_trainer.storage import FileStorage

pytestmark = pytest.mark.usefixtures("group_of_one")

CPU = torch.device("cpu")
CAPTIONS = ["one", "two", "three"]


class Overflowing(FeatureExtractor):
    """Gives NaN for the first image of each batch."""

    def features(self, images: Tensor) -> Tensor:
        found = super().features(images)
        found[0, 0] = torch.nan
        return found


class Sampled:
    """Samples of a network whose latents are images already."""

    teacher_steps, teacher_guidance, seed = 28, 4.5, 0
    distiller = SimpleNamespace(
        teacher=SimpleNamespace(decode=lambda latents: latents, resolution=lambda given: 16)
    )

    @contextmanager
    def student(self) -> Iterator[Draw]:
        yield lambda samples, condition: torch.rand(len(samples), 3, 16, 16)

    teacher = student


@pytest.fixture
def judges(tmp_path: Path) -> dict[str, str]:
    return write_judges(tmp_path / "judges")


@pytest.fixture
def config(tmp_path: Path, judges: dict[str, str]) -> RunConfig:
    run = configuration(tmp_path, Path(judges["features"]), judges["images"])
    run = run.model_dump(mode="json", by_alias=True)
    run["evaluation"]["metrics"] |= {
        "samples": 8,
        "teacher": True,
        "clipScore": {"model": judges["clip"]},
    }
    run["evaluation"]["metrics"]["fid"]["teacher"] = True
    return RunConfig.model_validate(run)


def evaluator(config: RunConfig, folder: Path, extractor: type[FeatureExtractor]) -> Evaluator:
    """Of the loaded judges, but for the extractor."""
    metrics = config.evaluation.metrics
    assert metrics is not None
    assert metrics.fid is not None
    loaded = load_judges(metrics, None, CPU, 16)
    network = extractor(Path(metrics.fid.features), CPU)
    models = JudgeModels(network, loaded.width, loaded.digest, loaded.scorers, CPU)
    ranks = Ranks(Place(0, 1, CPU), SoloGroup(), FileStorage(folder / "run"))
    parts: Any = (Sampled(), CAPTIONS, lambda texts: Condition({"c": torch.zeros(len(texts), 1)}))
    return Evaluator(config, metrics, models, *parts, ranks)


def test_what_is_no_number_is_left_out_and_told(
    config: RunConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    usual = evaluator(config, tmp_path, FeatureExtractor)
    usual.prepare()
    assert usual.evaluate().metrics.keys() == {"fid", "fidTeacher", "clipScore"}
    assert usual.teacher.keys() == {"fid", "clipScore"}
    odd = evaluator(config, tmp_path, Overflowing)
    odd.prepare()
    assert odd.evaluate().metrics.keys() == {"clipScore"}
    assert "the student's metrics: fid, fidTeacher is left out" in caplog.text


def test_a_teacher_that_cannot_be_measured_is_no_obstacle_to_a_resume(
    config: RunConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = config.model_dump(mode="json", by_alias=True)
    data["evaluation"]["metrics"]["fid"]["images"] = None
    config = RunConfig.model_validate(data)
    for _ in range(2):  # the second time with what the first one kept
        caplog.clear()
        resumed = evaluator(config, tmp_path, Overflowing)
        resumed.prepare()
        assert resumed.evaluate().metrics.keys() == {"clipScore"}
        assert "fidTeacher is left out" in caplog.text


def test_images_without_usable_features_are_refused(config: RunConfig, tmp_path: Path) -> None:
    with pytest.raises(TrainerError, match=r"fid\.images\.uri.*no finite numbers") as told:
        evaluator(config, tmp_path, Overflowing).prepare()
    assert told.value.reason is FailureReason.INVALID_DATA
