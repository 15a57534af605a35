"""What is measured of student and teacher, what of it is kept, and what is no number."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import torch
from judges import WIDTH, write_judges
from PIL import Image
from safetensors.torch import load_file, save_file
from test_reference_images import configuration
from torch import Tensor

from sid_trainer.config import RunConfig
from sid_trainer.contract import FailureReason, TrainerError
from sid_trainer.data.encoding import Encode
from sid_trainer.engine.distributed import Place
from sid_trainer.evaluate.evaluator import Evaluator
from sid_trainer.evaluate.extractor import FeatureExtractor
from sid_trainer.evaluate.judges import JudgeModels, load_judges
from sid_trainer.evaluate.ranks import Ranks
from sid_trainer.evaluate.sampling import Draw, Sampling
from sid_trainer.evaluate.statistics import FeatureStatistics
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
    times = 0
    distiller = SimpleNamespace(
        teacher=SimpleNamespace(decode=lambda latents: latents, resolution=lambda given: 16)
    )

    def __init__(self, teacher_origin: str) -> None:
        self.teacher_origin = teacher_origin

    @contextmanager
    def student(self) -> Iterator[Draw]:
        yield lambda samples, condition: torch.rand(len(samples), 3, 16, 16)

    def teacher(self) -> AbstractContextManager[Draw]:
        self.times += 1
        return self.student()


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


def evaluator(
    config: RunConfig,
    folder: Path,
    extractor: type[FeatureExtractor] = FeatureExtractor,
    sampled: Sampled | None = None,
) -> Evaluator:
    """Of the loaded judges, but for the extractor."""
    metrics = config.evaluation.metrics
    assert metrics is not None
    assert metrics.fid is not None
    loaded = load_judges(metrics, None, CPU, 16)
    network = extractor(Path(metrics.fid.features), CPU)
    models = JudgeModels(network, loaded.width, loaded.digest, loaded.scorers, CPU)
    ranks = Ranks(Place(0, 1, CPU), SoloGroup(), FileStorage(folder / "run"))
    encode = cast("Encode", lambda texts: Condition({"c": torch.zeros(len(texts), 1)}))
    sampling = cast("Sampling", sampled or Sampled("commit:1"))
    return Evaluator(config, metrics, models, sampling, CAPTIONS, encode, ranks)


def test_what_was_measured_of_another_teacher_is_not_this_ones(
    config: RunConfig, tmp_path: Path
) -> None:
    times, settings = [], []
    for origin in ("commit:1", "commit:1", "commit:2"):
        sampled = Sampled(origin)
        found = evaluator(config, tmp_path, sampled=sampled)
        found.prepare()
        times.append(sampled.times)
        settings.append((found.settings, *found.bases.values()))
    assert times == [1, 0, 1]
    assert settings[0] == settings[1]
    assert not set(settings[0]) & set(settings[2])


@pytest.mark.parametrize("finished", [False, True])
def test_distances_to_other_images_are_not_compared(
    config: RunConfig, judges: dict[str, str], tmp_path: Path, finished: bool
) -> None:
    """Though they are in the place of those before them."""
    place = Path(judges["images"])
    if finished:
        place = tmp_path / "statistics.npz"
        config = with_images(config, str(place))
    found = []
    for number in range(2):
        if finished:
            place.write_bytes(statistics(float(number)).to_npz())
        else:
            Image.new("RGB", (20, 20), (number, 0, 0)).save(place / "0.png")
        found.append(evaluator(config, tmp_path))
        found[-1].prepare()
    before, after = (each.bases for each in found)
    assert before.keys() == after.keys() == {"fid", "fidTeacher", "clipScore"}
    assert [name for name in before if before[name] != after[name]] == ["fid"]
    assert found[0].settings != found[1].settings


def statistics(mean: float) -> FeatureStatistics:
    number = torch.float64
    return FeatureStatistics(
        torch.full((WIDTH,), mean, dtype=number), torch.eye(WIDTH, dtype=number)
    )


def with_images(config: RunConfig, uri: str) -> RunConfig:
    data = config.model_dump(mode="json", by_alias=True)
    data["evaluation"]["metrics"]["fid"]["images"] = {"uri": uri}
    return RunConfig.model_validate(data)


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


@pytest.mark.parametrize(
    ("absent", "message"),
    [
        ("visual_projection.weight", r"clipScore\.model: the CLIP model lacks 1 of its weights"),
        ("tokenizer.json", r"clipScore\.model: the CLIP model's vocabulary .* does not exist"),
    ],
)
def test_a_clip_model_that_is_not_whole_is_told(
    config: RunConfig, judges: dict[str, str], absent: str, message: str
) -> None:
    """The library would score with random numbers, or with words that it does not know."""
    folder = Path(judges["clip"])
    if absent.endswith(".json"):
        (folder / absent).unlink()
    else:
        weights = load_file(folder / "model.safetensors")
        del weights[absent]
        save_file(weights, folder / "model.safetensors", {"format": "pt"})
    metrics = config.evaluation.metrics
    assert metrics is not None
    with pytest.raises(TrainerError, match=message):
        load_judges(metrics, None, CPU, 16)
