"""Builds what tests share and take minutes for, before they run: ``python -m tests.prepared``.

Tests would build it themselves, each when it first needs it. While several processes of tests run,
that would take the machine from the others, whose subject it is not. Says nothing where all is
there.
"""

from __future__ import annotations

import os

from tests.cluster.local.console import step
from tests.cluster.local.golang import MINIO, binaries
from tests.cluster.local.settings import default_paths


def main() -> None:
    """Build a MinIO and train the teacher of handwritten digits."""
    binaries(default_paths().cache, MINIO)
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")  # read when it is imported
    from sid_trainer.digits.cache import cached_teacher, is_cached  # noqa: PLC0415

    if not is_cached():
        with step("train the digits teacher (two minutes, once)"):
            cached_teacher()


if __name__ == "__main__":
    main()
