"""Reference images in a folder and in shards: the same statistics, without any captions."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from judges import WIDTH, write_extractor
from PIL import Image

from sid_trainer.config import MetricsConfig, RunConfig
from sid_trainer.contract import FailureReason, TrainerError
from sid_trainer.engine.distributed import Place
from sid_trainer.evaluate.judges import JudgeModels, load_judges
from sid_trainer.evaluate.ranks import Ranks
from sid_trainer.evaluate.statistics import FeatureStatistics
from sid_trainer.evaluate.yardsticks import Yardsticks
from sid_trainer.launch.preflight import check_inputs
from sid_trainer.process.group import SoloGroup
from sid_trainer.storage import FileStorage

pytestmark = pytest.mark.usefixtures("group_of_one")

IMAGES = 7


def pictures() -> dict[str, bytes]:
    random = np.random.default_rng(0)
    made = {}
    for number in range(IMAGES):
        buffer = io.BytesIO()
        pixels = random.integers(0, 256, (20 + number, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(buffer, "PNG")
        made[f"{number}.png"] = buffer.getvalue()
    return made


def write_shard(path: Path, files: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


@pytest.fixture
def features(tmp_path: Path) -> Path:
    return write_extractor(tmp_path / "extractor.pt")


def configuration(
    folder: Path, features: Path, uri: str, teacher: Path = Path("teacher")
) -> RunConfig:
    return RunConfig.model_validate(
        {
            "teacher": {"model": str(teacher)},
            "data": {"prompts": {"uri": str(folder / "prompts.txt")}, "resolution": 16},
            "storage": {"uri": (folder / "run").as_uri()},
            "evaluation": {
                "metrics": {
                    "teacher": False,
                    "fid": {"features": str(features), "images": {"uri": uri}},
                }
            },
        }
    )


def measured(folder: Path, features: Path, uri: str) -> FeatureStatistics:
    config = configuration(folder, features, uri)
    metrics = config.evaluation.metrics
    assert isinstance(metrics, MetricsConfig)
    device = torch.device("cpu")
    models: JudgeModels = load_judges(metrics, None, device, 16)
    ranks = Ranks(Place(0, 1, device), SoloGroup(), FileStorage(folder / "run"))

    def nobody() -> None:
        raise AssertionError("the teacher is not asked for")

    yardsticks = Yardsticks(config, metrics, models, 16, "facts", nobody, ranks)  # type: ignore[arg-type]
    yardsticks.measure()
    found = yardsticks.references["fid"]
    assert found is not None
    return found


def test_shards_give_what_a_folder_gives(tmp_path: Path, features: Path) -> None:
    loose, packed = tmp_path / "loose", tmp_path / "packed"
    loose.mkdir()
    packed.mkdir()
    files = pictures()
    for name, data in files.items():
        (loose / name).write_bytes(data)
    names = list(files)
    captions = {"0.txt": b"a caption", "0.json": b"{}"}
    write_shard(packed / "s-0.tar", captions | {name: files[name] for name in names[:3]})
    write_shard(packed / "s-1.tar", {name: files[name] for name in names[3:]})
    of_folder = measured(tmp_path, features, str(loose))
    assert of_folder.mean.shape == (WIDTH,)
    for uri in (str(packed), f"{packed}/s-{{0..1}}.tar"):
        of_shards = measured(tmp_path, features, uri)
        torch.testing.assert_close(of_shards.mean, of_folder.mean, rtol=1e-12, atol=0)
        torch.testing.assert_close(of_shards.covariance, of_folder.covariance, rtol=1e-9, atol=0)


def test_one_image_is_no_distribution(tmp_path: Path, features: Path) -> None:
    write_shard(tmp_path / "one.tar", {"0.png": pictures()["0.png"]})
    with pytest.raises(TrainerError, match=r"fid\.images\.uri: .*one\.tar has 1 images.* two"):
        measured(tmp_path, features, f"{tmp_path}/one.tar")


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("nowhere", "check the path and that its volume is mounted"),
        ("nowhere.npz", "nowhere.npz"),
        ("shard-{0..3}.tar", r"shard-0\.tar \(and 3 more\)"),
    ],
)
def test_a_reference_that_is_not_there_is_told_before_anything_is_loaded(
    tmp_path: Path, features: Path, tiny_sd3: Path, uri: str, message: str
) -> None:
    (tmp_path / "prompts.txt").write_text("a prompt")
    config = configuration(tmp_path, features, f"{tmp_path}/{uri}", tiny_sd3)
    with pytest.raises(TrainerError, match=message) as told:
        check_inputs(config)
    assert told.value.reason is FailureReason.NOT_FOUND
    assert "evaluation.metrics.fid.images.uri" in str(told.value)
