"""JSON that is deeper than Python reads."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sid_operator.api.spec import SiDDistillationSpec
from sid_operator.kube.decode import CUT_OFF, MAX_DEPTH, decoded, shallow
from sid_operator.plan.resource import resource_of
from sid_operator.resources.run import Installed
from tests.unit.operator import world

JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=12,
)


def nested(levels: int, inside: str = "1") -> str:
    return '{"a":' * levels + inside + "}" * levels


def levels_of(value: Any) -> int:
    levels = 0
    while isinstance(value, dict):
        value, levels = value["a"], levels + 1
    assert value == json.loads(CUT_OFF)
    return levels


@given(JSON)
def test_what_is_not_deep_is_read_as_it_is(value: Any) -> None:
    text = json.dumps(value)
    assert shallow(text) == text
    assert decoded(text.encode()) == value


@pytest.mark.parametrize("levels", [1_000, 5_000])
def test_deep_values_are_cut_and_what_stands_beside_them_is_kept(levels: int) -> None:
    tricky = json.dumps('a "quoted" [ bracket {' + "\\")
    text = f'{{"before":{tricky},"deep":{nested(levels, tricky)},"after":[{tricky}]}}'
    read = decoded(text.encode())
    assert read["before"] == json.loads(tricky)
    assert read["after"] == [json.loads(tricky)]
    assert levels_of(read["deep"]) == MAX_DEPTH - 1


@given(JSON, st.integers(90, 110))
def test_every_cut_text_is_json(value: Any, levels: int) -> None:
    json.loads(shallow(nested(levels, json.dumps(value))))


def test_a_text_that_is_no_json_is_an_error() -> None:
    with pytest.raises(json.JSONDecodeError):
        decoded(b"upstream connect error")


@pytest.mark.parametrize("levels", [9, 40, 600, 5_000])
def test_a_spec_that_is_too_deep_is_told(levels: int) -> None:
    raw = world.raw({})
    raw["spec"]["deepspeed"] = {"config": decoded(nested(levels))}
    resource = resource_of(raw, Installed("image:1"))
    assert resource.run is None
    assert "deepspeed" in resource.problem
    assert "nested" in resource.problem


def test_a_spec_that_is_too_long_is_told() -> None:
    raw = world.raw({})
    raw["spec"]["deepspeed"] = {"config": {"x": "y" * 100_000}}
    assert "longer than" in resource_of(raw, Installed("image:1")).problem


def test_settings_of_deepspeed_are_within_the_bounds() -> None:
    deepest = {"zero_optimization": {"offload_param": {"device": "cpu", "x": [1]}}}
    raw = world.raw({})["spec"] | {"deepspeed": {"config": deepest}}
    assert SiDDistillationSpec.model_validate(raw).deepspeed.config == deepest
