"""``make bench``, or ``python -m tests.bench``: every part, or some, as one report.

On a machine with a GPU ``--device cuda`` measures there.
"""

from __future__ import annotations

import argparse
import importlib
import os
from pathlib import Path

REPORT = Path(".dev") / "bench.md"


def main() -> None:
    """Measure, print and write the report."""
    options = arguments()
    os.environ["DS_ACCELERATOR"] = options.device
    if options.device == "cpu":
        os.environ |= {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    from tests.bench.report import heading  # noqa: PLC0415 - after the environment

    parts = {
        "flops": (options.depth,),
        "cost": (),
        "waits": (options.device,),
        "step_time": (options.device, options.rounds),
        "outside": (options.device, options.rounds),
        "memory": (options.device, options.iterations),
        "latency": (options.device, options.rounds),
        "checkpoints": (options.device, options.rounds),
        "stall": (options.device, options.rounds),
    }
    if options.device == "cuda":
        parts["attention"] = ()
        parts["compiled"] = ()
        parts["accelerator"] = (options.rounds,)
    report = [heading(options.device)]
    print(report[0], flush=True)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    for name in options.parts or parts:
        try:
            part = importlib.import_module(f"tests.bench.{name}")
            text = part.section(*parts[name]).markdown()
        except (RuntimeError, MemoryError) as error:
            # One part must not cost the others, on a machine that is lent for minutes.
            text = f"## {name}\n\nFailed:\n\n```\n{error}\n```"
        report.append(text)
        print(f"\n{text}", flush=True)
        options.output.write_text("\n\n".join(report) + "\n", encoding="utf-8")
    print(f"\nwritten to {options.output}")
    if any("\nFailed:" in text for text in report):
        raise SystemExit(1)


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--output", type=Path, default=REPORT, help="Markdown file to write")
    parser.add_argument("--rounds", type=int, default=9, help="repetitions of each measurement")
    parser.add_argument("--iterations", type=int, default=200, help="of the memory run")
    parser.add_argument("--depth", type=int, default=1, help="layers of each kind in flops")
    parser.add_argument(
        "parts",
        nargs="*",
        help="flops, cost, waits, step_time, outside, memory, latency, checkpoints, stall; on GPUs "
        "attention, compiled, accelerator",
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
