"""JSON that is YAML as well."""

from __future__ import annotations

import json
from typing import Any

import yaml
from hypothesis import given
from hypothesis import strategies as st

from sid_operator.kube.encode import encoded

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=12,
)


@given(ANYTHING)
def test_it_is_the_json_of_the_value(value: Any) -> None:
    assert json.loads(encoded(value)) == value


@given(TEXTS)
def test_a_yaml_reader_reads_the_same(text: str) -> None:
    assert yaml.safe_load(encoded({"text": text})) == {"text": text}


def test_only_what_yaml_has_no_escape_for_is_sent_as_it_is() -> None:
    sent = encoded("a\u2028é\x7f👩\\ud83d").decode()
    assert sent == r'"a\u2028\u00e9\u007f👩\\ud83d"'
