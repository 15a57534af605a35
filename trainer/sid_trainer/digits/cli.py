"""``python -m sid_trainer digits teacher|prompts|images|evaluate``.

Importing this module loads no torch; each command imports what it needs.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from sid_trainer.digits import gate
from sid_trainer.digits.gate import Criterion, Sampler, Score
from sid_trainer.digits.prompts import balanced_prompts

FAMILY_NAMES = ("sd3", "sana", "flux")
GATE_FAILED = 1
USAGE = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that ``arguments`` name; return the exit code."""
    options = _parser().parse_args(arguments)
    code: int = options.run(options)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sid_trainer digits",
        description="Small teachers of handwritten digits, and the judge of their students.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    teacher = commands.add_parser("teacher", help="train the teacher (two minutes on one core)")
    teacher.add_argument("--output", type=Path, required=True, help="pipeline directory to write")
    teacher.add_argument(
        "--family", choices=FAMILY_NAMES, default="sd3", help="architecture (default: %(default)s)"
    )
    teacher.add_argument("--seed", type=int, default=0, help="everything follows from it")
    teacher.set_defaults(run=_teacher)

    prompts = commands.add_parser("prompts", help="write the training prompts")
    prompts.add_argument("--output", type=Path, required=True, help="text file to write")
    prompts.set_defaults(run=_prompts)

    images = commands.add_parser("images", help="write the digits as shards with captions")
    images.add_argument("--output", type=Path, required=True, help="folder to write to")
    images.add_argument(
        "--size", type=int, default=8, help="pixels of a side, a multiple of 8 (default: 8)"
    )
    images.set_defaults(run=_images)

    files = commands.add_parser(
        "judge", help="write the judge's extractor and the digits' statistics, for fid"
    )
    files.add_argument("--output", type=Path, required=True, help="folder to write to")
    files.set_defaults(run=_judge)

    judge = commands.add_parser(
        "evaluate", help="judge a student; exit code 1 when it misses the gate"
    )
    judge.add_argument("--teacher", type=Path, required=True, help="pipeline directory")
    judge.add_argument("--student", type=Path, required=True, help="pipeline directory")
    judge.add_argument("--picture", type=Path, help="PNG to write: teacher's and student's samples")
    judge.add_argument("--json", type=Path, help="file to write the numbers to")
    judge.set_defaults(run=_evaluate)
    return parser


def _teacher(options: argparse.Namespace) -> int:
    from sid_trainer.digits.teacher import make_teacher, recipe_of  # noqa: PLC0415 - torch
    from sid_trainer.telling.console import hide_progress_bars  # noqa: PLC0415 - slow to load

    hide_progress_bars()
    make_teacher(options.output, recipe_of(options.family, options.seed))
    print(f"teacher: {options.output}")
    return 0


def _prompts(options: argparse.Namespace) -> int:
    options.output.write_text("".join(f"{prompt}\n" for prompt in balanced_prompts()))
    print(f"prompts: {options.output}")
    return 0


def _images(options: argparse.Namespace) -> int:
    from sid_trainer.digits.images import write_shards  # noqa: PLC0415 - scikit-learn

    try:
        paths = write_shards(options.output, options.size)
    except ValueError as error:
        print(f"--size: {error}", file=sys.stderr)
        return USAGE
    print(f"images: {len(paths)} shards in {options.output}")
    return 0


def _judge(options: argparse.Namespace) -> int:
    from sid_trainer.digits.judge_files import write_judge  # noqa: PLC0415 - torch

    write_judge(options.output)
    print(f"judge: {options.output}")
    return 0


def _evaluate(options: argparse.Namespace) -> int:
    from sid_trainer.digits.evaluate import evaluate  # noqa: PLC0415 - torch
    from sid_trainer.telling.console import hide_progress_bars  # noqa: PLC0415 - slow to load

    hide_progress_bars()
    scores: dict[Sampler, Score] = {}
    samples = {}
    print(f"{'':22}{'FD to digits':>14}{'FD to teacher':>15}{'accuracy':>10}")
    for sampler, score, images in evaluate(options.teacher, options.student):
        scores[sampler], samples[sampler] = score, images
        print(_row(sampler, score), flush=True)
    results = gate.criteria(scores)
    print("\n" + "\n".join(_verdict(criterion) for criterion in results))
    if options.json:
        options.json.write_text(json.dumps(_document(scores, results), indent=2) + "\n")
    if options.picture:
        _draw(options.picture, [samples[gate.TEACHER_50], samples[gate.STUDENT_4]])
    passed = all(criterion.passed for criterion in results)
    print(f"gate {'passed' if passed else 'FAILED'}", file=sys.stdout if passed else sys.stderr)
    return 0 if passed else GATE_FAILED


def _row(sampler: Sampler, score: Score) -> str:
    name = f"{sampler.network}, {sampler.steps} step{'s' * (sampler.steps > 1)}"
    return f"{name:22}{score.fd:14.2f}{score.fd_teacher:z15.2f}{score.accuracy:10.3f}"


def _verdict(criterion: Criterion) -> str:
    relation = ">=" if criterion.at_least else "<="
    word = "ok  " if criterion.passed else "FAIL"
    return f"{word} {criterion.name:32} {criterion.value:6.3f} {relation} {criterion.bound}"


def _document(scores: Mapping[Sampler, Score], results: Sequence[Criterion]) -> object:
    return {
        "scores": [{**key._asdict(), **score._asdict()} for key, score in scores.items()],
        "gate": [
            {
                "name": criterion.name,
                "value": criterion.value,
                "bound": criterion.bound,
                "atLeast": criterion.at_least,
                "passed": criterion.passed,
            }
            for criterion in results
        ],
        "passed": all(criterion.passed for criterion in results),
    }


def _draw(path: Path, samples: Sequence[object]) -> None:
    import torch  # noqa: PLC0415 - slow to load

    from sid_trainer.digits.picture import grid  # noqa: PLC0415 - torch

    rows = [images[:30] for images in samples if isinstance(images, torch.Tensor)]
    grid(torch.cat(rows)).save(path)
    print(f"picture: {path} (three rows of the teacher's samples, three of the student's)")
