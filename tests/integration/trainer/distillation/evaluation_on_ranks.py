"""Run on each rank: train with evaluations in between and without; save what came of both.

Arguments: the teacher's directory, a JSON file with the judges' addresses, the output folder.
"""

from __future__ import annotations

import json
import sys
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from sid_ranks import PROMPTS, Rank, joined, quiet, run_config

from sid_trainer.config import RunConfig
from sid_trainer.engine.distributed import Place, leave
from sid_trainer.evaluate.evaluator import Evaluator, MeasurementGivenUpError
from sid_trainer.evaluate.judges import load_judges
from sid_trainer.evaluate.opening import open_sampling
from sid_trainer.evaluate.pixels import decoded
from sid_trainer.evaluate.ranks import Ranks
from sid_trainer.evaluate.sampling import Draw, Sampling
from sid_trainer.evaluate.shares import chunks
from sid_trainer.process.ending import end_with
from sid_trainer.process.group import TorchGroup
from sid_trainer.storage import FileStorage

SAMPLES = 21  # odd, so that the last rank computes one in vain
CAPTIONS = PROMPTS[:4]
ITERATIONS = 2


def evaluation(judges: dict[str, str]) -> dict[str, Any]:
    return {
        "seed": 3,
        "teacher": {"steps": 3, "guidance": 1.5},
        "metrics": {
            "samples": SAMPLES,
            "fid": {
                "features": judges["features"],
                "images": {"uri": judges["images"]},
                "teacher": True,
            },
            "clipScore": {"model": judges["clip"]},
            "preference": {"model": judges["clip"]},
        },
    }


def sampling_of(config: RunConfig, rank: Rank) -> Sampling:
    return open_sampling(config, rank.distiller, rank.distiller.teacher.encode([""]), "origin")


class CountedSampling(Sampling):
    """Counts how often the teacher is sampled."""

    times = 0

    def teacher(self, steps: int | None = None) -> AbstractContextManager[Draw]:
        type(self).times += 1
        return super().teacher(steps)


def evaluator_of(config: RunConfig, rank: Rank, place: Place, output: Path) -> Evaluator:
    metrics, teacher = config.evaluation.metrics, rank.distiller.teacher
    assert metrics is not None
    models = load_judges(metrics, None, place.device, teacher.default_resolution)
    ranks = Ranks(place, TorchGroup(), FileStorage(output / "storage"))
    sampling = CountedSampling(**vars(sampling_of(config, rank)))
    return Evaluator(config, metrics, models, sampling, CAPTIONS, teacher.encode, ranks)


def give_up(evaluator: Evaluator) -> None:
    """Begin a measurement, and give it up in the middle."""
    try:
        evaluator.evaluate(lambda: True)
    except MeasurementGivenUpError:
        return
    raise AssertionError("it was not given up")


def pictures(config: RunConfig, rank: Rank) -> dict[str, torch.Tensor]:
    """All samples of student and teacher, drawn by every rank in the batches of both."""
    sampling, teacher = sampling_of(config, rank), rank.distiller.teacher
    images = {}
    for name, network in (("student", sampling.student()), ("teacher", sampling.teacher())):
        with network as draw:
            parts = [
                draw(
                    chunk.samples,
                    teacher.encode([CAPTIONS[i % len(CAPTIONS)] for i in chunk.samples]),
                )
                for of in (0, 1)
                for chunk in chunks(SAMPLES, 2, of)
            ]
        images[name] = decoded(teacher, torch.cat(parts)[:SAMPLES])
    return images


def main() -> None:
    quiet()
    teacher, judges, output = sys.argv[1], json.loads(Path(sys.argv[2]).read_text()), sys.argv[3]
    place = joined()
    config = run_config(teacher, evaluation=evaluation(judges), training={"iterations": 9})
    results: dict[str, Any] = {}
    for case in ("without", "with"):
        rank = Rank(config, place)
        evaluator = evaluator_of(config, rank, place, Path(output))
        measured = []
        if case == "with":
            evaluator.prepare()
            measured.append(evaluator.evaluate().metrics)
        for iteration in range(ITERATIONS):
            rank.iterate(iteration)
            if case == "with":
                measured.append(evaluator.evaluate().metrics)
                give_up(evaluator)
        state = rank.networks.capture()
        teacher = evaluator.teacher
        results[case] = {"tensors": state.tensors, "measured": measured, "teacher": teacher}
    results["pictures"] = pictures(config, rank)
    again = evaluator_of(config, rank, place, Path(output))
    again.prepare()
    results["again"] = again.evaluate().metrics
    results["teacher again"] = again.teacher
    results["times"] = CountedSampling.times
    torch.save(results, Path(output) / f"rank{place.rank}.pt")
    leave()


if __name__ == "__main__":
    main()
    end_with(0)
