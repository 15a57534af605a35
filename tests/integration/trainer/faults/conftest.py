"""The store that is killed, and the undisturbed run that the disturbed ones are compared with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.trainer.faults.disturbed import Result, Shape, run_disturbed, table
from tests.integration.trainer.faults.pods import Nest, Starter
from tests.integration.trainer.faults.schedule import Kind, Schedule
from tests.integration.trainer.tiny_teacher import write_teacher
from tests.minio_server import MinioServer

CALM = Schedule(seed=0, rate=0.0, kills={}, requests=(0, 0))


@pytest.fixture(scope="session")
def own_minio(minio_factory: Callable[[], MinioServer]) -> MinioServer:
    """A server that these tests may kill."""
    return minio_factory()


@pytest.fixture(scope="session")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A teacher whose checkpoints are several parts a rank."""
    return write_teacher(tmp_path_factory.mktemp("teacher"), head_width=48)


@pytest.fixture(scope="session")
def forked(own_minio: MinioServer, teacher: Path) -> Iterator[Starter]:
    """Starts pods that need not import anything."""
    with Nest(teacher, own_minio.environ) as nest:
        yield nest.start


@pytest.fixture(scope="session")
def calm(
    own_minio: MinioServer,
    teacher: Path,
    forked: Starter,
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[int, int], Result]:
    """Makes the undisturbed run of a length, once."""
    made: dict[tuple[int, int], Result] = {}

    def make(iterations: int, every: int) -> Result:
        if (iterations, every) not in made:
            shape = Shape(teacher, iterations, every)
            folder = tmp_path_factory.mktemp("calm")
            result = run_disturbed(
                shape, own_minio, folder, f"calm-{iterations}-{every}", CALM, forked
            )
            assert not result.problems
            made[iterations, every] = result
        return made[iterations, every]

    return make


@pytest.fixture(scope="session")
def tally() -> Iterator[Counter[Kind]]:
    """Faults of all runs together, told at the end."""
    faults: Counter[Kind] = Counter()
    yield faults
    print(f"\n{table(faults)}")
