"""Metrics of a student on two ranks: equal to independent ones, and without effect on training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusion3Pipeline
from evaluation_on_ranks import CAPTIONS, ITERATIONS, SAMPLES
from judges import WIDTH, ToyExtractor, write_judges
from PIL import Image
from scipy import linalg
from sid_ranks import run_on_ranks
from torch import Tensor
from transformers import AutoTokenizer, CLIPImageProcessorPil, CLIPModel

from sid_trainer.digits.text import MAX_TOKENS
from sid_trainer.evaluate.statistics import FeatureStatistics
from sid_trainer.evaluate.teacher_sampler import guided_euler, teacher_levels
from sid_trainer.teachers.sd3 import SD3Teacher


@pytest.fixture(scope="module")
def judges(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return write_judges(tmp_path_factory.mktemp("judges"))


@pytest.fixture(scope="module")
def results(
    tiny_sd3: Path, judges: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> list[dict[str, Any]]:
    output = tmp_path_factory.mktemp("evaluation")
    (output / "judges.json").write_text(json.dumps(judges))
    arguments = (str(tiny_sd3), str(output / "judges.json"), str(output))
    run_on_ranks(output, "evaluation_on_ranks.py", *arguments)
    return [torch.load(output / f"rank{rank}.pt") | {"folder": output} for rank in (0, 1)]


def features(images: Tensor) -> np.ndarray[Any, np.dtype[np.float64]]:
    """By the Python module itself, not its file."""
    torch.manual_seed(21)
    with torch.no_grad():
        return ToyExtractor()(images.float(), return_features=True).double().numpy()


def distance(first: Tensor, second: Tensor) -> float:
    """FID as its first implementation had it: numpy's mean and cov, scipy's sqrtm."""
    a, b = features(first), features(second)
    shift = a.mean(0) - b.mean(0)
    c, d = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    return float(shift @ shift + np.trace(c + d - 2 * linalg.sqrtm(c @ d).real))


def reference_images(folder: Path) -> Tensor:
    pictures = []
    for path in sorted(folder.rglob("*.[pP][nN][gG]")):
        with Image.open(path) as image:
            side, (width, height) = min(image.size), image.size
            left, top = (width - side) / 2, (height - side) / 2
            box = (left, top, left + side, top + side)
            square = image.resize((16, 16), Image.Resampling.LANCZOS, box=box)
        pictures.append(torch.from_numpy(np.asarray(square).copy()).permute(2, 0, 1))
    return torch.stack(pictures)


def test_training_is_the_same_bit_by_bit(results: list[dict[str, Any]]) -> None:
    for rank in results:
        plain, evaluated = rank["without"]["tensors"], rank["with"]["tensors"]
        assert plain.keys() == evaluated.keys()
        for name, tensor in plain.items():
            torch.testing.assert_close(evaluated[name], tensor, rtol=0, atol=0, msg=name)


def test_every_rank_is_told_the_same(results: list[dict[str, Any]]) -> None:
    first, second = (rank["with"]["measured"] for rank in results)
    assert first == second
    assert len(first) == ITERATIONS + 1
    assert len({measured["fid"] for measured in first}) > 1  # the student moved
    assert results[0]["again"] == first[-1]


def test_distances_are_those_of_all_images_together(
    results: list[dict[str, Any]], judges: dict[str, str]
) -> None:
    measured, pictures = results[0]["with"]["measured"][-1], results[0]["pictures"]
    assert len(pictures["student"]) == SAMPLES
    real = distance(pictures["student"], reference_images(Path(judges["images"])))
    assert measured["fid"] == pytest.approx(real, rel=1e-6)
    teacher = distance(pictures["student"], pictures["teacher"])
    assert measured["fidTeacher"] == pytest.approx(teacher, rel=1e-6)


def test_the_teacher_is_measured_as_the_student_is_and_once(
    results: list[dict[str, Any]], judges: dict[str, str]
) -> None:
    first, second = results
    images = first["pictures"]["teacher"]
    preference, cosine = scores(images, judges)
    expected = {
        "fid": distance(images, reference_images(Path(judges["images"]))),
        "preferenceScore": preference,
        "clipScore": cosine,
    }
    assert first["with"]["teacher"] == pytest.approx(expected, rel=1e-5)
    assert second["with"]["teacher"] == first["with"]["teacher"]
    assert first["teacher again"] == first["with"]["teacher"]
    assert (first["times"], first["without"]["teacher"]) == (1, {})


def test_statistics_of_the_teacher_are_kept(results: list[dict[str, Any]]) -> None:
    folder = results[0]["folder"] / "storage" / "metrics" / "reference"
    kept = sorted(path.name.partition("-")[0] for path in folder.iterdir())
    assert kept == ["images", "teacher", "teacher"]
    (file,) = folder.glob("teacher-*.npz")
    statistics = FeatureStatistics.from_npz(file.read_bytes(), file.name)
    expected = features(results[0]["pictures"]["teacher"])
    assert statistics.mean.shape == (WIDTH,)
    np.testing.assert_allclose(statistics.mean, expected.mean(0), rtol=1e-6)
    np.testing.assert_allclose(statistics.covariance, np.cov(expected, rowvar=False), rtol=1e-6)


def scores(images: Tensor, judges: dict[str, str]) -> tuple[float, float]:
    """Preference score and CLIP score by the model itself."""
    model = CLIPModel.from_pretrained(judges["clip"])
    processor = CLIPImageProcessorPil.from_pretrained(judges["clip"])
    tokenizer = AutoTokenizer.from_pretrained(judges["clip"])
    captions = [CAPTIONS[i % len(CAPTIONS)] for i in range(SAMPLES)]
    tokens = tokenizer(captions, padding=True, truncation=True, return_tensors="pt")
    with torch.no_grad():
        logits = model(
            **tokens, **processor(images=list(images), return_tensors="pt")
        ).logits_per_image
    preference = float(logits.diagonal().mean())
    return preference, preference / float(model.logit_scale.detach().exp())


def test_scores_are_those_of_the_model_itself(
    results: list[dict[str, Any]], judges: dict[str, str]
) -> None:
    measured, images = results[0]["with"]["measured"][-1], results[0]["pictures"]["student"]
    preference, cosine = scores(images, judges)
    assert measured["preferenceScore"] == pytest.approx(preference, rel=1e-5)
    assert measured["clipScore"] == pytest.approx(cosine, rel=1e-5)


def test_the_teacher_is_sampled_as_by_its_pipeline(tiny_sd3: Path) -> None:
    pipeline = StableDiffusion3Pipeline.from_pretrained(tiny_sd3)
    pipeline.set_progress_bar_config(disable=True)
    z = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    theirs = pipeline(
        CAPTIONS[:2],
        num_inference_steps=5,
        guidance_scale=3.0,
        latents=z,
        output_type="latent",
        max_sequence_length=MAX_TOKENS,
    ).images
    teacher = SD3Teacher(tiny_sd3, torch.device("cpu"), torch.float32)
    with torch.no_grad():
        ours = guided_euler(
            teacher.fp32_velocity(pipeline.transformer),
            z,
            teacher_levels(tiny_sd3, 5, (4, 8, 8)),
            teacher.encode(CAPTIONS[:2]),
            teacher.encode([""]),
            3.0,
        )
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
