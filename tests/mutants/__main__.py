"""``make test-mutants``: every deliberate mistake must be found by a test.

    python -m tests.mutants [NAME...]

Prints which test found which mistake; the exit code is 1 when one was not found. First the tests
are run on the package as it is, where they must pass.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from tests.mutants.harness import preload, try_tests
from tests.mutants.mutations import MUTATIONS, Mutation


def main(names: Sequence[str]) -> int:
    """Try all mistakes, or those whose name has one of ``names`` in it."""
    chosen = [m for m in MUTATIONS if not names or any(name in m.name for name in names)]
    preload()
    if not _sound(chosen):
        return 1
    survivors = [mutation.name for mutation in chosen if not _found(mutation)]
    found = len(chosen) - len(survivors)
    print(f"{found} of {len(chosen)} mistakes found")
    for name in survivors:
        print(f"NOT FOUND: {name}", file=sys.stderr)
    return 1 if survivors or not chosen else 0


def _sound(chosen: Sequence[Mutation]) -> bool:
    """Whether the suites that are needed pass without a mistake."""
    sound = True
    for suite in sorted({m.suite for m in chosen}, key=lambda suite: suite.name):
        outcome = try_tests(suite)
        sound = sound and outcome.failed is None
        _tell("no mistake: " + suite.name.lower(), outcome.failed or "passed", outcome.seconds)
    return sound


def _found(mutation: Mutation) -> bool:
    outcome = try_tests(mutation.suite, mutation)
    _tell(mutation.name, outcome.failed or "NOT FOUND", outcome.seconds)
    return outcome.failed is not None


def _tell(what: str, verdict: str, seconds: float) -> None:
    print(f"{what:55} {seconds:5.1f} s  {verdict}", flush=True)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
