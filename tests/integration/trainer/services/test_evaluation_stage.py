"""What evaluation does when the store does not answer, and what it makes good after a resume."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from sid_trainer.config import RunConfig
from sid_trainer.contract import FailureReason, TrainerError
from sid_trainer.engine.distributed import Place
from sid_trainer.evaluate.evaluator import Measured, MeasurementGivenUpError
from sid_trainer.evaluate.kept import Kept
from sid_trainer.evaluate.ranks import Ranks
from sid_trainer.evaluate.stage import EvaluationStage
from sid_trainer.export import Edition
from sid_trainer.process.group import SoloGroup
from sid_trainer.process.run_directory import RunDirectory
from sid_trainer.report.records import Records, Speed
from sid_trainer.storage import FileStorage
from sid_trainer.telling.reporter import Reporter
from sid_trainer.training.keeping import Keeper
from sid_trainer.training.services import RunServices

from .test_background import saver, stored
from .test_checkpoints import state

BEST = "student-best/model_index.json"
CONFIG = RunConfig.model_validate(
    {
        "teacher": {"model": "/teacher"},
        "data": {"prompts": {"uri": "/prompts.txt"}},
        "storage": {"uri": "file:///run"},
        "training": {"batchSize": 8},
        "evaluation": {
            "metrics": {"everyIterations": 10, "clipScore": {"model": "/clip"}, "best": "clipScore"}
        },
    }
)


class Store(FileStorage):
    """A folder that takes no objects where the test says so."""

    failing: FailureReason | None = None

    def put_bytes(
        self, key: str, data: bytes, content_type: str = "application/octet-stream"
    ) -> None:
        if self.failing is not None:
            raise TrainerError(self.failing, "no answer")
        super().put_bytes(key, data, content_type)


class Scores:
    """An evaluator that gives scores one after the other."""

    settings = "settings"
    teacher: Mapping[str, float] = {}
    bases: Mapping[str, str] = {}

    def __init__(self, *scores: float) -> None:
        self.left = [*scores]

    def prepare(self) -> None:
        """Nothing to compare with."""

    def evaluate(self, stop: Callable[[], bool]) -> Measured:
        if stop():
            raise MeasurementGivenUpError
        return Measured({"clipScore": self.left.pop(0)}, 1.0)


class Pictures:
    """Previews of two black pictures."""

    prompts = ("a", "b")

    def teacher(self, sampling: object) -> None:
        """None stand above."""

    def student(self, sampling: object) -> torch.Tensor:
        return torch.zeros(2, 3, 8, 8)

    def speed(self, sampling: object) -> Speed | None:
        return None


class Told(Reporter):
    """A reporter that keeps what it is told."""

    def __init__(self) -> None:
        super().__init__(None)
        self.pictures: list[str] = []
        self.measured: list[int] = []

    def samples(self, uri: str) -> None:
        self.pictures.append(uri.rsplit("/", 1)[1])

    def evaluated(self, iteration: int, metrics: Mapping[str, float]) -> None:
        self.measured.append(iteration)


@pytest.fixture
def storage(tmp_path: Path) -> Store:
    return Store(tmp_path)


def stage(storage: Store, *scores: float) -> tuple[EvaluationStage, Told, list[int]]:
    """A stage, what it tells, and the iterations whose students it exports."""
    told, exported = Told(), list[int]()

    def export(edition: Edition) -> None:
        storage.put_bytes(BEST, b"{}")
        exported.append(edition.iteration)

    ranks = Ranks(Place(0, 1, torch.device("cpu")), SoloGroup(), storage)
    parts: Any = (None, Pictures(), Scores(*scores), export, Records.load(storage))
    return EvaluationStage(CONFIG, ranks, told, *parts), told, exported


def measured(storage: Store) -> list[int]:
    return [each.iteration for each in Records.load(storage).evaluations]


def test_a_store_that_does_not_answer_costs_a_picture(
    storage: Store, caplog: pytest.LogCaptureFixture
) -> None:
    evaluation, told, _ = stage(storage)
    storage.failing = FailureReason.STORAGE_UNAVAILABLE
    evaluation.samples(10)
    assert "the sample pictures of iteration 10: not stored" in caplog.text
    storage.failing = None
    evaluation.samples(20)
    assert told.pictures == ["iter-00000020.png"]


def test_records_that_were_not_stored_are_stored_with_the_next(storage: Store) -> None:
    evaluation, _, exported = stage(storage, 0.2, 0.1)
    storage.failing = FailureReason.STORAGE_UNAVAILABLE
    evaluation.prepare(0)
    evaluation.metrics(10)
    assert measured(storage) == []
    storage.failing = None
    evaluation.metrics(20)
    assert measured(storage) == [10, 20]
    assert Records.load(storage).best == 20, "that of 10 could not be stored, and is no more"
    assert exported == [20]


def test_a_best_student_that_cannot_be_stored_does_not_end_the_run(
    storage: Store, caplog: pytest.LogCaptureFixture
) -> None:
    evaluation, _, exported = stage(storage, 0.3, 0.4, 0.1, 0.2, 0.1)
    evaluation.metrics(10)
    storage.failing = FailureReason.STORAGE_UNAVAILABLE
    evaluation.metrics(20)
    assert "the best student, of iteration 20: not stored" in caplog.text
    storage.failing = None
    evaluation.metrics(30)
    assert exported == [10], "the one before is whole, and better"
    storage.delete([BEST])  # as an export does before it uploads, which ends in the middle
    for iteration in (40, 50):
        evaluation.metrics(iteration)
    assert exported == [10, 40]
    assert Records.load(storage).best == 40
    assert measured(storage) == [10, 20, 30, 40, 50]


@pytest.mark.parametrize("work", [EvaluationStage.samples, EvaluationStage.metrics])
def test_a_store_that_refuses_ends_the_run(storage: Store, work: Any) -> None:
    evaluation, _, _ = stage(storage, 0.2)
    storage.failing = FailureReason.ACCESS_DENIED
    with pytest.raises(TrainerError, match="no answer"):
        work(evaluation, 10)


def test_all_records_are_there_in_the_end(storage: Store) -> None:
    evaluation, _, _ = stage(storage, 0.2)
    storage.failing = FailureReason.STORAGE_UNAVAILABLE
    evaluation.last_metrics(10)
    with pytest.raises(TrainerError, match="no answer"):
        evaluation.finish()
    storage.failing = None
    evaluation.finish()
    assert measured(storage) == [10]


def test_what_was_due_and_is_not_there_is_made_good(storage: Store) -> None:
    evaluation, told, exported = stage(storage, 0.2)
    evaluation.make_good(10, samples_due=True, metrics_due=True)
    assert (told.pictures, told.measured, exported) == (["iter-00000010.png"], [10], [10])
    evaluation, told, exported = stage(storage)
    evaluation.make_good(10, samples_due=True, metrics_due=True)
    evaluation.make_good(15, samples_due=False, metrics_due=False)
    assert (told.pictures, told.measured, exported) == ([], [], [])
    evaluation.make_good(0, samples_due=True, metrics_due=False)
    evaluation.make_good(0, samples_due=True, metrics_due=False)
    assert told.pictures == ["iter-00000000.png"] * 2


def test_another_training_in_the_folder_is_not_this_one(storage: Store) -> None:
    """Its checkpoints were removed, as is told to who changes what binds them."""
    evaluation, _, _ = stage(storage, 0.5, 0.9, 0.8)
    for iteration in (0, 10, 20):
        evaluation.metrics(iteration)
    evaluation, told, exported = stage(storage, 0.1, 0.3, 0.2)
    evaluation.prepare(0)
    assert measured(storage) == []
    evaluation.make_good(0, samples_due=False, metrics_due=True)
    evaluation.metrics(10)
    evaluation.last_metrics(20)
    assert (told.measured, exported) == ([0, 10, 20], [0, 10])
    assert (Records.load(storage).best, evaluation.ranking) == (10, [10, 20, 0])


def test_what_was_measured_after_the_checkpoint_is_measured_anew(storage: Store) -> None:
    evaluation, _, _ = stage(storage, 0.4, 0.6, 0.9)
    for iteration in (10, 20, 30):
        evaluation.metrics(iteration)
    evaluation, told, exported = stage(storage, 0.5)
    evaluation.prepare(20)
    evaluation.make_good(20, samples_due=False, metrics_due=True)
    assert evaluation.ranking == [20, 10]
    evaluation.last_metrics(30)
    assert (told.measured, evaluation.ranking) == ([30], [20, 30, 10])
    assert exported == [30], "what is in student-best/ was trained after the checkpoint, too"
    evaluation, told, _ = stage(storage)
    evaluation.prepare(30)
    evaluation.last_metrics(30)
    assert told.measured == []


def test_a_measurement_that_is_given_up_leaves_no_record(storage: Store) -> None:
    evaluation, told, exported = stage(storage, 0.2)
    evaluation.metrics(10, lambda: True)
    assert (told.measured, exported, measured(storage)) == ([], [], [])


def test_a_pod_that_is_told_to_end_gives_a_measurement_up(storage: Store, tmp_path: Path) -> None:
    evaluation, told, _ = stage(storage, 0.2, 0.1)
    directory, group = RunDirectory(tmp_path / "pod"), SoloGroup()
    directory.path.mkdir()
    keeper = Keeper(saver(storage, group), group, lambda at: state(0, 1, at), told, directory)
    services = RunServices(told, keeper, evaluation)
    services.secure(10)
    services.metrics(10)
    directory.request_stop()
    with pytest.raises(TrainerError, match="newest checkpoint is that of iteration 20") as end:
        services.metrics(20)
    assert end.value.reason is FailureReason.TERMINATED
    assert measured(storage) == [10]
    assert len(stored(storage)) == 2


def test_what_was_measured_is_used_where_it_cannot_be_kept(storage: Store) -> None:
    kept = Kept(SoloGroup(), storage)
    storage.failing = FailureReason.STORAGE_UNAVAILABLE
    assert kept.numbers("teacher", lambda: {"fid": 1.0}) == {"fid": 1.0}
    storage.failing = None
    assert kept.numbers("teacher", lambda: {"fid": 2.0}) == {"fid": 2.0}
    assert kept.numbers("teacher", lambda: {"fid": 3.0}) == {"fid": 2.0}
