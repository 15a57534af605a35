"""The hostile cases are the same for the same seed, and reach the whole of the schema."""

from __future__ import annotations

import json

from tests.cluster.hostile.generate import KNOWN, Case, cases

SEED = 7


def test_a_seed_gives_the_same_cases_and_another_seed_others() -> None:
    first = list(cases(SEED, 50))
    assert list(cases(SEED, 50)) == first
    assert not set(first) & set(cases(SEED + 1, 50))


def test_longer_campaigns_begin_with_the_shorter_ones() -> None:
    assert list(cases(SEED, 60))[:20] == list(cases(SEED, 20))


def test_every_section_of_the_spec_is_tried() -> None:
    sections = {path[1] for path in KNOWN}
    sent = [json.loads(case.body) for case in cases(SEED, 400) if _is_json(case)]
    specs = [body["spec"] for body in sent if isinstance(body, dict) and "spec" in body]
    assert sections <= {key for spec in specs if isinstance(spec, dict) for key in spec}


def _is_json(case: Case) -> bool:
    try:
        json.loads(case.body)
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True
