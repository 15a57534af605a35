"""What a person reads while a run goes on: one line every few seconds, or a bar on a terminal.

Rules this module keeps:

* Rank 0 speaks at INFO, the others from WARNING on; every line of theirs says who speaks.
* Other libraries' chatter is held at WARNING; their warnings and errors come through.
* Nothing here touches a GPU: it gets numbers.
"""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Mapping
from typing import Never

from tqdm import tqdm

from sid_trainer.contract import ProgressReport

_NOISY = (
    "accelerate",
    "DeepSpeed",
    "deepspeed",
    "diffusers",
    "huggingface_hub",
    "httpx",
    "httpcore",
    "torch",
    "transformers",
    "urllib3",
)
# Known to be harmless here, and repeated by every process at every start.
_HARMLESS_WARNINGS = (
    r".*barrier\(\): using the device under current context.*",
    r".*torch\.distributed\.reduce_op.*",
)

logger = logging.getLogger(__name__)


def set_up_logging(rank: int = 0, world: int = 1) -> None:
    """Send the log to standard error; ranks other than 0 are prefixed and quieter."""
    who = "" if world == 1 else f"[rank {rank}] "
    handler = logging.StreamHandler()
    handler.setFormatter(
        logging.Formatter(f"%(asctime)s %(levelname)-7s {who}%(message)s", "%Y-%m-%d %H:%M:%S")
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO if rank == 0 else logging.WARNING)
    for name in _NOISY:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.captureWarnings(capture=True)
    for message in _HARMLESS_WARNINGS:
        warnings.filterwarnings("ignore", message=message)


def hide_progress_bars() -> None:
    """Turn off the bars of diffusers and transformers, which a log shows as rubbish.

    To be called when those libraries are imported anyway.
    """
    from diffusers.utils import logging as diffusers_logging  # noqa: PLC0415 - heavy
    from transformers.utils import logging as transformers_logging  # noqa: PLC0415

    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()


def duration(seconds: float) -> str:
    """Seconds in their two largest units, as kubectl tells ages.

    >>> duration(45.2), duration(725), duration(11_100), duration(187_200)
    ('45s', '12m5s', '3h5m', '2d4h')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60}s"
    if whole < 86_400:
        return f"{whole // 3600}h{whole % 3600 // 60}m"
    return f"{whole // 86_400}d{whole % 86_400 // 3600}h"


def line(report: ProgressReport) -> str:
    """One report as one line of a log."""
    return (
        f"iteration {report.iteration}/{report.iterations} "
        f"({100 * report.iteration / report.iterations:.1f}%) | {numbers(report.metrics)} | "
        f"{pace(report)}"
    )


def pace(report: ProgressReport) -> str:
    """Throughput and, where it is known, the time left."""
    eta = "" if report.eta_seconds is None else f" | ETA {duration(report.eta_seconds)}"
    return f"{report.images_per_second:.1f} img/s{eta}"


def numbers(metrics: Mapping[str, float]) -> str:
    """Metrics as ``name 1.234`` each, in their order."""
    return " ".join(f"{name} {value:.4g}" for name, value in metrics.items())


class Display:
    """Shows progress: a bar where a person looks on, else lines in the log."""

    def __init__(self, iterations: int) -> None:
        self._bar: tqdm[Never] | None = None
        if sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
            # The time left is the report's: tqdm's own counts loading and what was resumed.
            bar = "{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}{postfix}]"
            self._bar = tqdm(total=iterations, file=sys.stderr, dynamic_ncols=True, bar_format=bar)

    def show(self, report: ProgressReport) -> None:
        """Show a report."""
        if self._bar is None:
            logger.info("%s", line(report))
            return
        self._bar.n = report.iteration
        self._bar.set_postfix_str(f"{numbers(report.metrics)} | {pace(report)}", refresh=True)

    def say(self, message: str) -> None:
        """Tell a milestone, above the bar where there is one."""
        if self._bar is not None:
            self._bar.clear()
        logger.info("%s", message)

    def close(self) -> None:
        """Leave the terminal tidy."""
        if self._bar is not None:
            self._bar.close()
