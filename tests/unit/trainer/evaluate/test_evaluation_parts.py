"""The parts of evaluation that need neither networks nor other ranks."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DPMSolverMultistepScheduler, FlowMatchEulerDiscreteScheduler
from diffusers.pipelines.flux.pipeline_flux import calculate_shift
from pydantic import ValidationError
from scipy import linalg

from sid_trainer.config import EvaluationConfig, MetricsConfig, RunConfig
from sid_trainer.contract import TrainerError
from sid_trainer.data.images.parts import LocalShard, Part
from sid_trainer.evaluate.comparing import bases
from sid_trainer.evaluate.cost import measures_teacher
from sid_trainer.evaluate.pixels import to_uint8
from sid_trainer.evaluate.reference import share
from sid_trainer.evaluate.shares import chunks
from sid_trainer.evaluate.statistics import (
    FeatureStatistics,
    FeatureSums,
    fitted,
    frechet_distance,
)
from sid_trainer.evaluate.teacher_sampler import guided_euler, teacher_levels
from sid_trainer.method.conditions import Condition
from sid_trainer.report.records import KEY, Best, Evaluation, Records
from sid_trainer.storage import FileStorage

CPU = torch.device("cpu")


def in_parts(features: torch.Tensor, parts: int) -> FeatureStatistics:
    sums = FeatureSums(features.shape[1], CPU)
    for part in features.chunk(parts):
        sums.add(part)
    return sums.statistics()


@pytest.mark.parametrize("world", [1, 2, 3, 8])
@pytest.mark.parametrize("count", [2, 21, 300])
def test_every_sample_is_judged_once_and_all_ranks_compute_alike(world: int, count: int) -> None:
    ranks = [list(chunks(count, world, rank, size=16)) for rank in range(world)]
    judged = [
        number for rank in ranks for chunk in rank for number in chunk.samples[: chunk.judged]
    ]
    assert sorted(judged) == list(range(count))
    assert len({tuple(len(chunk.samples) for chunk in rank) for rank in ranks}) == 1
    assert all(0 <= number < count for rank in ranks for chunk in rank for number in chunk.samples)


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
    root = linalg.sqrtm((a + offset) @ (b + offset)).real
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


def test_pixels_are_rounded_as_in_a_file() -> None:
    assert to_uint8(torch.tensor([-0.1, 0.0, 0.499 / 255, 0.501 / 255, 1.2])).tolist() == [
        0,
        0,
        0,
        1,
        255,
    ]


def evaluated(iteration: int, settings: str = "a", **metrics: float) -> Evaluation:
    return Evaluation(
        iteration=iteration, images=8 * iteration, settings=settings, metrics=metrics, seconds=1.0
    )


def test_records_replace_order_and_return(tmp_path: Path) -> None:
    records = Records()
    for each in (evaluated(20, fid=3.0), evaluated(10, fid=5.0), evaluated(20, fid=2.0)):
        records = records.with_evaluation(each)
    assert [(e.iteration, e.metrics["fid"]) for e in records.evaluations] == [(10, 5.0), (20, 2.0)]
    assert records.latest == {"fid": 2.0}
    assert records.at(10, "b") is None
    storage = FileStorage(tmp_path)
    assert Records.load(storage) == Records()
    records.save(storage)
    assert Records.load(storage) == records
    assert b'"evaluations"' in storage.get_bytes(KEY)
    assert records.beside == {}
    measured = Records(teacher=dict.fromkeys(("fid", "clipScore", "preferenceScore"), 1.0))
    assert list(measured.beside) == ["teacherFid", "teacherClipScore", "teacherPreferenceScore"]


def test_the_best_is_of_equal_settings_and_in_the_right_direction() -> None:
    records = Records()
    for each in (
        evaluated(1, fid=3.0, clipScore=0.30),
        evaluated(2, fid=2.0, clipScore=0.33),
        evaluated(3, fid=2.5, clipScore=0.31),
        evaluated(4, "fewer samples", fid=0.5, clipScore=0.9),
        evaluated(5, fid=float("nan")),
    ):
        records = records.with_evaluation(each)
    for metric, iteration in (("fid", 2), ("clipScore", 2)):
        best = Best(metric, "a").of(records)  # type: ignore[arg-type]
        assert best is not None
        assert best.iteration == iteration
    assert Best("preferenceScore", "a").of(records) is None


FID = {"features": "/x.pt", "images": {"uri": "/images"}}
SCORER = {"model": "owner/clip"}


def basis(metrics: dict[str, Any], **changes: Any) -> dict[str, str]:
    facts = {"extractor": "digest", "student": ["seed", 10], "teacher": [28, 4.5]} | changes
    return bases(MetricsConfig.model_validate(metrics), **facts)


def test_a_metric_has_the_basis_of_what_it_depends_on_alone() -> None:
    alone = basis({"fid": FID, "best": "fid"})
    assert alone.keys() == {"fid"}
    more = basis({"fid": FID | {"teacher": True}, "clipScore": SCORER, "preference": SCORER})
    assert more.keys() == {"fid", "fidTeacher", "clipScore", "preferenceScore"}
    assert more["fid"] == alone["fid"]
    assert len(set(more.values())) == 4
    assert basis({"clipScore": SCORER})["clipScore"] == more["clipScore"]
    sampled = basis({"fid": FID | {"teacher": True}}, teacher=[50, 4.5])
    assert sampled["fid"] == alone["fid"]
    assert sampled["fidTeacher"] != more["fidTeacher"]
    others = (
        basis({"fid": FID | {"imageSize": 299}}),
        basis({"fid": FID | {"images": {"uri": "/others"}}}),
        basis({"fid": FID}, extractor="another"),
        basis({"fid": FID}, student=["seed", 20]),
    )
    assert len({alone["fid"], *(other["fid"] for other in others)}) == 5


def test_another_metric_beside_leaves_the_ranking_as_it_is() -> None:
    """Training goes on with a metric more: the best so far is still the best."""
    old = [evaluated(iteration, fid=fid) for iteration, fid in ((1, 3.0), (2, 2.0))]
    old = [each.model_copy(update={"bases": {"fid": "f"}}) for each in old]
    new = evaluated(3, "with clipScore", fid=2.5, clipScore=0.3)
    new = new.model_copy(update={"bases": {"fid": "f", "clipScore": "c"}})
    records = Records(evaluations=(*old, new))
    ranked = Best("fid", "with clipScore", {"fid": "f", "clipScore": "c"}).ranked(records)
    assert [each.iteration for each in ranked] == [2, 3, 1]
    assert Best.like("fid", new).ranked(records) == ranked
    assert Best.like("clipScore", new).ranked(records) == [new]
    assert Best("fid", "x", {"fid": "other features"}).ranked(records) == []


def test_records_from_before_there_were_bases_count_by_their_settings() -> None:
    records = Records(evaluations=(evaluated(1, fid=3.0), evaluated(2, "other", fid=1.0)))
    assert [e.iteration for e in Best("fid", "a", {"fid": "f"}).ranked(records)] == [1]


def scheduler(folder: Path, instance: Any) -> Any:
    instance.save_pretrained(folder / "scheduler")
    return instance


# Inside diffusers' DPM-Solver.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_the_teachers_levels_are_those_of_its_pipeline(tmp_path: Path) -> None:
    sd3 = scheduler(tmp_path / "sd3", FlowMatchEulerDiscreteScheduler(shift=3.0))
    sd3.set_timesteps(7)
    assert teacher_levels(tmp_path / "sd3", 7, (16, 64, 64)) == tuple(sd3.sigmas.tolist())
    flux = scheduler(
        tmp_path / "flux", FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True)
    )
    flux.set_timesteps(
        sigmas=np.linspace(1.0, 1 / 7, 7),
        mu=calculate_shift(32 * 32, max_shift=flux.config.max_shift),
    )
    assert teacher_levels(tmp_path / "flux", 7, (16, 64, 64)) == pytest.approx(
        flux.sigmas.tolist(), abs=1e-6
    )
    sana = scheduler(
        tmp_path / "sana",
        DPMSolverMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
        ),
    )
    sana.set_timesteps(7)
    ours = teacher_levels(tmp_path / "sana", 7, (32, 16, 16))
    assert ours == pytest.approx(sana.sigmas.tolist(), abs=2e-3)
    assert ours[0] == 1
    assert teacher_levels(tmp_path / "none", 4, (4, 8, 8)) == (1, 0.75, 0.5, 0.25, 0)


def test_euler_steps_follow_a_straight_path_exactly() -> None:
    x0, noise = torch.randn(2, 3, 1, 1), torch.randn(2, 3, 1, 1)
    prompts, empty = (Condition({"c": torch.ones(size, 1)}) for size in (2, 1))

    def velocity(x: torch.Tensor, sigma: torch.Tensor, condition: Condition) -> torch.Tensor:
        return (noise - x0).repeat(len(x) // 2, 1, 1, 1)

    for levels in ((1.0, 0.0), (1.0, 0.7, 0.2, 0.0)):
        sample = guided_euler(velocity, noise, levels, prompts, empty, 4.5)
        torch.testing.assert_close(sample, x0)


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        ({}, "measures nothing"),
        ({"fid": {"features": "x.pt"}}, "compares with nothing"),
        ({"clipScore": {"model": "a/b"}, "best": "fid"}, "best is fid, which is not measured"),
        (
            {"fid": {"features": "x.pt", "teacher": True}, "best": "fid"},
            "choose one of fidTeacher",
        ),
    ],
)
def test_contradictions_are_refused_with_their_remedy(
    metrics: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        EvaluationConfig.model_validate({"metrics": metrics})


@pytest.mark.parametrize(
    "metrics",
    [
        {"fid": {"features": "x.pt", "teacher": True}},
        {"clipScore": {"model": "a/b"}, "teacher": True},
    ],
)
def test_a_teacher_without_steps_cannot_be_sampled(metrics: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=r"teacher needs .*evaluation\.teacher\.steps is 0"):
        EvaluationConfig.model_validate({"teacher": {"steps": 0}, "metrics": metrics})


IMAGES = {"fid": {"features": "x.pt", "images": {"uri": "/i"}}}
CLIP = {"clipScore": {"model": "a/b"}}


@pytest.mark.parametrize(
    ("metrics", "iterations", "steps", "measured"),
    [
        (IMAGES, 1000, 28, True),  # 5.6 thousand forwards, and 320 thousand of training
        (IMAGES, 17, 28, False),  # 5,440 of training
        (IMAGES | {"teacher": True}, 17, 28, True),
        (IMAGES | {"teacher": False}, 1000, 28, False),
        (IMAGES, 1000, 0, False),
        ({"fid": IMAGES["fid"] | {"teacher": True}}, 17, 28, True),  # it is sampled anyway
        ({"fid": {"features": "x.pt", "teacher": True}}, 1000, 28, False),
        (CLIP, 1000, 28, False),
        (CLIP | {"teacher": True}, 1000, 28, True),
        (None, 1000, 28, False),
    ],
)
def test_the_teacher_is_measured_where_it_tells_something_and_costs_little(
    metrics: dict[str, Any] | None, iterations: int, steps: int, measured: bool
) -> None:
    config = RunConfig.model_validate(
        {
            "teacher": {"model": "a/b"},
            "data": {"prompts": {"uri": "prompts.txt"}},
            "storage": {"uri": "file:///run"},
            "training": {"iterations": iterations, "batchSize": 16},
            "evaluation": {
                "teacher": {"steps": steps},
                "metrics": metrics and metrics | {"samples": 100},
            },
        }
    )
    assert measures_teacher(config) is measured


def test_a_few_parts_are_shared_by_all_ranks_and_many_are_dealt_out() -> None:
    for count, world in ((1, 1), (1, 8), (3, 8), (8, 8), (9, 8), (20, 3)):
        parts: list[Part] = [LocalShard(str(number), "") for number in range(count)]
        read = [
            (part.name, sample)
            for rank in range(world)
            for part, which in share(parts, rank, world)
            for sample in range(20)[which]
        ]
        assert sorted(read) == sorted((part.name, n) for part in parts for n in range(20))


@pytest.mark.parametrize(
    ("every", "metrics", "accepted"),
    [
        (5, {"best": "clipScore", "everyIterations": 10}, True),
        (5, {"best": "clipScore", "everyIterations": 7}, False),
        (5, {"best": "clipScore"}, False),
        (5, {"everyIterations": 10}, False),
        (5, None, False),
    ],
)
def test_the_best_checkpoints_are_those_of_measured_students(
    every: int, metrics: dict[str, Any] | None, accepted: bool
) -> None:
    config = {
        "teacher": {"model": "a/b"},
        "data": {"prompts": {"uri": "/p.txt"}},
        "storage": {"uri": "file:///run"},
        "checkpoint": {"everyIterations": every, "keepBest": 1},
        "evaluation": {"metrics": metrics and {"clipScore": {"model": "a/b"}, **metrics}},
    }
    if accepted:
        assert RunConfig.model_validate(config).checkpoint.keep_best == 1
        return
    with pytest.raises(ValidationError, match=r"as a multiple of checkpoint\.everyIterations"):
        RunConfig.model_validate(config)
