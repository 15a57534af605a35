"""Runs tests against a package with one mistake in it.

Each mutant is a copy of ``sid_trainer``, imported by a forked process in place of the tree's. What
is slow to load, and holds no mistake, is loaded once before the forks.
"""

from __future__ import annotations

import importlib
import json
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.mutants.mutations import Mutation, Suite

REPOSITORY = Path(__file__).parents[2]
PACKAGE = REPOSITORY / "trainer" / "sid_trainer"
DEADLINE_SECONDS = 900  # a guard against hangs; a loaded machine may be slow
_PRELOADED = (
    "pytest",
    "torch",
    "numpy",
    "deepspeed",
    "pydantic",
    "yaml",
    "sklearn.datasets",
    "tokenizers",
)
_PRELOADED_NAMES = {
    "diffusers": (
        "AutoencoderDC",
        "AutoencoderKL",
        "DPMSolverMultistepScheduler",
        "FlowMatchEulerDiscreteScheduler",
        "FluxPipeline",
        "FluxTransformer2DModel",
        "SD3Transformer2DModel",
        "SanaPipeline",
        "SanaTransformer2DModel",
        "StableDiffusion3Pipeline",
    ),
}


class MutationError(Exception):
    """A mistake that cannot be made: its text is not there exactly once."""


@dataclass(frozen=True)
class Outcome:
    """What the tests made of a package.

    Attributes:
        failed: the first test that failed; None when all passed.
        seconds: how long it took.
    """

    failed: str | None
    seconds: float


def preload() -> None:
    """Load what the forked processes share; the package itself must not be among it."""
    os.environ["OMP_NUM_THREADS"] = "1"
    for name in _PRELOADED:
        importlib.import_module(name)
    for name, members in _PRELOADED_NAMES.items():
        module = importlib.import_module(name)
        for member in members:
            getattr(module, member)
    import torch  # noqa: PLC0415 - slow to load

    torch.set_num_threads(1)  # a thread pool would not survive the fork
    if any(name.split(".")[0] == "sid_trainer" for name in sys.modules):
        raise RuntimeError("sid_trainer was imported before it was mutated")


def try_tests(suite: Suite, mutation: Mutation | None = None) -> Outcome:
    """Run a suite against the package, with a mistake in it if one is given.

    Raises:
        MutationError: when the mistake does not apply.
        RuntimeError: when the tests came to no verdict.
    """
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        place = Path(folder)
        copied = place / "trainer" / PACKAGE.name
        shutil.copytree(PACKAGE, copied, ignore=shutil.ignore_patterns("__pycache__"))
        if mutation is not None:
            _apply(mutation, copied)
        begun = time.monotonic()
        failed = _in_fork(suite, place)
        return Outcome(failed, time.monotonic() - begun)


def _apply(mutation: Mutation, package: Path) -> None:
    path = package / mutation.module
    text = path.read_text(encoding="utf-8")
    found = text.count(mutation.right)
    if found != 1:
        raise MutationError(
            f"{mutation.name}: {mutation.module} has {found} times {mutation.right!r}, not once: "
            "bring tests/mutants/mutations.py up to date"
        )
    path.write_text(text.replace(mutation.right, mutation.wrong), encoding="utf-8")


def _in_fork(suite: Suite, place: Path) -> str | None:
    process = multiprocessing.get_context("fork").Process(target=_child, args=(suite, place))
    process.start()
    process.join(DEADLINE_SECONDS)
    if process.is_alive():
        process.kill()
        process.join()
        return "no end in time"
    report = place / "report.json"
    if not report.is_file():
        print((place / "output").read_text(encoding="utf-8")[-4000:], file=sys.stderr)
        raise RuntimeError(f"pytest ended with {process.exitcode} before it had a verdict")
    failed: str | None = json.loads(report.read_text(encoding="utf-8"))
    return failed


def _child(suite: Suite, place: Path) -> None:
    with (place / "output").open("w", encoding="utf-8") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    os.chdir(REPOSITORY)
    sys.path.insert(0, str(place / "trainer"))
    import pytest  # noqa: PLC0415 - a fork each

    first = _FirstFailure(place / "trainer")
    options = ["-x", "-q", "--assert=plain", "-p", "no:cacheprovider"]
    options.append(f"--basetemp={place / 'pytest'}")
    code = pytest.main([*options, *suite.value], plugins=[first])
    if code != pytest.ExitCode.OK and first.name is None:
        first.name = f"pytest: {code!s}"
    (place / "report.json").write_text(json.dumps(first.name), encoding="utf-8")


class _FirstFailure:
    """Notes the first test that fails, or cannot be collected; sees that the mutant is tested."""

    def __init__(self, expected: Path) -> None:
        self.name: str | None = None
        self._expected = expected

    def pytest_sessionfinish(self) -> None:
        """Refuse a verdict on another package."""
        import sid_trainer  # noqa: PLC0415 - the mutant

        if not Path(str(sid_trainer.__file__)).is_relative_to(self._expected):
            raise RuntimeError(f"{sid_trainer.__file__} was tested, not the mutant")

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Called by pytest after each phase of a test."""
        if report.failed and self.name is None:
            self.name = report.nodeid.rsplit("/", 1)[-1]

    def pytest_collectreport(self, report: Any) -> None:
        """Called by pytest after collecting a file: an error here is nobody's verdict."""
        if report.failed:
            raise RuntimeError(f"{report.nodeid} cannot be collected: {report.longreprtext}")
