"""Amounts against what Kubernetes' documentation says that they are."""

from __future__ import annotations

import re

import pytest

from sid_operator.api.quantities import QUANTITY_PATTERN, amount


@pytest.mark.parametrize(
    ("quantity", "number"),
    [
        ("8", 8),
        ("64Gi", 64 * 2**30),
        ("1.5k", 1500),
        (".5Ki", 512),
        ("2E", 2 * 10**18),
        ("2E3", 2000),
        ("2e3", 2000),
        ("1e-1", 0),
        ("128974848000m", 128974848),
        ("3000000000n", 3),
        ("1Ei", 2**60),
        ("5.", 5),
    ],
)
def test_an_amount_is_what_kubernetes_takes_it_for(quantity: str, number: int) -> None:
    assert re.search(QUANTITY_PATTERN, quantity)
    assert amount(quantity) == number
