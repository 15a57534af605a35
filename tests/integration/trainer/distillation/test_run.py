"""A whole run on two ranks: trained, continued, exported, and sampled by the stock pipeline."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from diffusers import StableDiffusion3Pipeline
from judges import write_judges
from safetensors import safe_open
from safetensors.torch import load_file
from sid_ranks import PROMPTS, run_on_ranks

from sid_trainer.cli import main
from sid_trainer.contract import ExitCode
from sid_trainer.report.records import Records
from sid_trainer.storage import FileStorage

FIRST, LAST = 2, 5
"""Iterations of the run at first, and of what was made of it."""


def write_config(tmp_path: Path, teacher: Path, judges: dict[str, str], iterations: int) -> str:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("\n".join(PROMPTS))
    config: dict[str, Any] = {
        "name": "tiny",
        "teacher": {"model": str(teacher)},
        "data": {
            "prompts": {"uri": str(prompts)},
            "encodingCache": {"uri": str(tmp_path / "run" / "encodings")},
        },
        "student": {"exportPrecision": "fp32", "initFrom": str(tmp_path / "first-student")},
        "distillation": {"guidance": {"scale": 1.5}},
        "training": {
            "iterations": iterations,
            "batchSize": 8,
            "microBatchSize": 2,
            "learningRate": 1e-3,
            "ema": {"halfLifeImages": 16},
        },
        "evaluation": {
            "everyIterations": 100,
            "prompts": PROMPTS[:3],
            "teacher": {"steps": 3},
            "metrics": {
                "everyIterations": 3,
                "samples": 6,
                "fid": {"features": judges["features"], "images": {"uri": judges["images"]}},
                "clipScore": {"model": judges["clip"]},
                "best": "clipScore",
            },
        },
        "checkpoint": {"everyIterations": 1, "keepLast": 1, "keepBest": 1},
        "storage": {"uri": f"file://{tmp_path}/run"},
        "launch": {"device": "cpu", "processesPerNode": 2, "progressPort": 0},
    }
    file = tmp_path / f"config-{iterations}.yaml"
    file.write_text(yaml.safe_dump(config))
    return str(file)


@pytest.fixture(scope="module")
def run(tiny_sd3: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a run of two iterations that was then made one of five.

    Its first student, the teacher itself, is deleted in between.
    """
    folder = tmp_path_factory.mktemp("run")
    first = shutil.copytree(tiny_sd3, folder / "first-student")
    judges = write_judges(tmp_path_factory.mktemp("judges"))
    for iterations in (FIRST, LAST):
        config = write_config(folder, tiny_sd3, judges, iterations)
        run_on_ranks(folder, "train_on_ranks.py", config)
        shutil.rmtree(first, ignore_errors=True)
    return folder / "run"


def test_it_went_on_from_its_checkpoint(run: Path) -> None:
    reports = [
        json.loads(line)
        for part in sorted(run.glob("metrics/attempt-0002/*.jsonl"))
        for line in part.read_text().splitlines()
    ]
    assert reports[0]["iteration"] == FIRST + 1
    trained = [report for report in reports if "generatorLoss" in report]
    assert trained[-1]["iteration"] == LAST
    names = {"generatorLoss", "fakeScoreLoss", "generatorGradNorm", "fakeGradNorm"}
    assert names <= trained[-1].keys()


def test_the_newest_checkpoint_and_the_best_one_are_kept(run: Path) -> None:
    """Of all from 2 to 5; that of 4 goes, whichever the best of 2 and 3 is."""
    *earlier, last = Records.load(FileStorage(run)).evaluations
    assert [each.iteration for each in earlier] == [2, 3], "measured before the last commit"
    best = max(earlier, key=lambda each: each.metrics["clipScore"])
    manifests = sorted(run.glob("checkpoints/*/manifest.json"))
    kept = [json.loads(manifest.read_text())["iteration"] for manifest in manifests]
    assert kept == [best.iteration, last.iteration]
    assert len([*run.glob("checkpoints/*/attempt-*/rank-*")]) == 2 * len(kept), "no other's parts"


def test_encodings_are_kept_once_each(run: Path) -> None:
    made = [file.stat().st_mtime_ns for file in run.glob("encodings/*/*.safetensors")]
    assert len(made) == len({*PROMPTS, ""})
    (second,) = run.glob("**/attempt-0002/attempt.json")
    assert max(made) < second.stat().st_mtime_ns, "the second start found all of them"


def test_sample_grids_are_there(run: Path) -> None:
    grids = sorted(path.name for path in run.glob("samples/*.png"))
    assert grids == [f"iter-{iteration:08d}.png" for iteration in (0, FIRST, LAST)]


def test_every_evaluation_is_recorded_and_the_best_student_kept(run: Path) -> None:
    records = Records.load(FileStorage(run))
    assert [each.iteration for each in records.evaluations] == [2, 3, LAST]
    scores = [each.metrics["clipScore"] for each in records.evaluations]
    assert records.best == records.evaluations[scores.index(max(scores))].iteration
    assert all(each.metrics["fid"] > 0 for each in records.evaluations)
    streamed = [
        json.loads(line)
        for part in sorted(run.glob("metrics/attempt-*/part-*.jsonl"))
        for line in part.read_text().splitlines()
    ]
    measured = {line["iteration"]: line["fid"] for line in streamed if "fid" in line}
    assert measured == {each.iteration: each.metrics["fid"] for each in records.evaluations}
    best = (run / "student-best" / "README.md").read_text()
    assert f"| CLIP score (higher is better) | {max(scores):.4g} |" in best
    assert f"| Iterations | {records.best} of batch 8 |" in best
    assert (run / "student-best" / "model_index.json").is_file()


def test_the_report_and_the_card_show_the_end(run: Path) -> None:
    html = (run / "report.html").read_text()
    records = Records.load(FileStorage(run))
    assert records.speed is not None
    assert (records.speed.teacher_steps, records.speed.student_steps) == (3, 4)
    texts = ("Before training", f"After {LAST} iterations", "Speed-up over the teacher", "<svg")
    for text in (*texts, "<td>Teacher</td>"):
        assert text in html
    card = (run / "student" / "README.md").read_text()
    assert "| metric | student, 4 steps | teacher, 3 steps with guidance 1.5 |" in card
    assert records.teacher.keys() == {"fid", "clipScore"}
    assert f" | {records.teacher['fid']:.4g} |" in card
    assert f"{records.evaluations[-1].metrics['fid']:.4g}" in card
    samples = (run / "student" / "samples.png").read_bytes()
    assert samples == (run / "samples" / f"iter-{LAST:08d}.png").read_bytes()
    assert "dtype=torch.float32" in card
    with safe_open(next((run / "student" / "transformer").glob("*.safetensors")), "pt") as weights:
        assert {weights.get_tensor(name).dtype for name in weights.keys()} == {torch.float32}  # noqa: SIM118


def test_the_stock_pipeline_loads_and_samples_the_student(run: Path, tiny_sd3: Path) -> None:
    pipeline = StableDiffusion3Pipeline.from_pretrained(run / "student", dtype=torch.bfloat16)
    pipeline.set_progress_bar_config(disable=True)
    assert pipeline.scheduler.config.stochastic_sampling
    torch.manual_seed(0)
    images = pipeline(
        PROMPTS[:2], num_inference_steps=4, guidance_scale=1.0, output_type="pt"
    ).images
    assert images.shape == (2, 3, 16, 16)
    assert torch.isfinite(images).all()
    teacher = StableDiffusion3Pipeline.from_pretrained(tiny_sd3, dtype=torch.bfloat16)
    changed = [
        not torch.equal(a, b)
        for a, b in zip(
            pipeline.transformer.parameters(), teacher.transformer.parameters(), strict=True
        )
    ]
    assert sum(changed) > 0.9 * len(changed)
    torch.testing.assert_close(
        pipeline.transformer.pos_embed.pos_embed, teacher.transformer.pos_embed.pos_embed
    )


def test_another_number_of_ranks_goes_on_from_the_same_weights(run: Path, tmp_path: Path) -> None:
    """The checkpoint of two ranks, resumed by one at its last iteration, makes the same student.

    And the pictures that its run had not come to draw.
    """
    last = f"iter-{LAST:08d}.png"
    shutil.copytree(run, tmp_path / "run", ignore=shutil.ignore_patterns("student*", last))
    config = yaml.safe_load((run.parent / f"config-{LAST}.yaml").read_text())
    config["storage"]["uri"] = f"file://{tmp_path}/run"
    config["launch"]["processesPerNode"] = 1
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(config))
    run_on_ranks(tmp_path, "train_on_ranks.py", str(file), world_size=1)
    ours, theirs = (weights(folder / "student") for folder in (tmp_path / "run", run))
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        torch.testing.assert_close(ours[name], tensor, rtol=0, atol=0, msg=name)
    assert (tmp_path / "run" / "samples" / last).is_file()


def weights(student: Path) -> dict[str, torch.Tensor]:
    """The exported network's tensors."""
    (file,) = (student / "transformer").glob("*.safetensors")
    loaded: dict[str, torch.Tensor] = load_file(file)
    return loaded


def export(run: Path, to: str | Path, *more: str) -> int:
    return main(["checkpoints", "export", "--storage", run.as_uri(), "--to", str(to), *more])


def test_the_student_of_a_checkpoint_is_that_of_the_run(run: Path, tmp_path: Path) -> None:
    """Of a checkpoint of two ranks, by one process that has nothing but the run's folder."""
    place = tmp_path / "students" / "last"
    assert export(run, place, "--precision", "fp32") == ExitCode.DONE
    ours, theirs = weights(place), weights(run / "student")
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        torch.testing.assert_close(ours[name], tensor, rtol=0, atol=0, msg=name)
    torch.testing.assert_close(sampled(place), sampled(run / "student"), rtol=0, atol=0)
    others = {"README.md", "transformer"}
    for file in (run / "student").rglob("*"):
        copy = place / file.relative_to(run / "student")
        if file.is_file() and not others & {*copy.relative_to(place).parts}:
            assert copy.read_bytes() == file.read_bytes()
    card = (place / "README.md").read_text()
    assert f"| Iterations | {LAST} of batch 8 |" in card
    assert "| Weights | moving average, half-life 16 images |" in card


def test_the_present_weights_are_those_that_training_goes_on_with(
    run: Path, tmp_path: Path
) -> None:
    assert export(run, tmp_path / "raw", "--raw", "--iteration", str(LAST)) == ExitCode.DONE
    assert "| Weights | last iterate |" in (tmp_path / "raw" / "README.md").read_text()
    (part, other) = (
        load_file(file) for file in sorted(run.glob(f"checkpoints/iter-{LAST:08d}/*/*.safetensors"))
    )
    name = "proj_out.weight"
    ours = weights(tmp_path / "raw")[name]
    assert ours.dtype == torch.bfloat16
    joined = torch.cat([part[f"student/weight/{name}"], other[f"student/weight/{name}"]])
    torch.testing.assert_close(ours.flatten(), joined[: ours.numel()].bfloat16(), rtol=0, atol=0)
    assert not torch.equal(ours.float(), weights(run / "student")[name])


def test_an_export_replaces_nothing_and_names_what_is_there(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    assert export(run, tmp_path) == ExitCode.CONFIGURATION
    assert "is not empty" in capsys.readouterr().err
    assert export(run, tmp_path / "new", "--iteration", "1") == ExitCode.NOT_FOUND
    assert f"no checkpoint of iteration 1: it has {LAST}, " in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def sampled(student: Path) -> torch.Tensor:
    """Pictures by the stock pipeline."""
    pipeline = StableDiffusion3Pipeline.from_pretrained(student, dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    torch.manual_seed(0)
    images: torch.Tensor = pipeline(
        PROMPTS[:2], num_inference_steps=4, guidance_scale=1.0, output_type="pt"
    ).images
    return images
