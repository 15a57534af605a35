"""Bodies are cut from buffers: the same bytes in the same order, and never copied."""

from __future__ import annotations

import hashlib
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from sid_trainer.storage.pieces import Pieces, cut


@given(st.lists(st.binary(max_size=20), max_size=8), st.lists(st.integers(0, 160), max_size=6))
def test_it_is_cut_where_it_is_to_be(contents: list[bytes], places: list[int]) -> None:
    whole = b"".join(contents)
    cuts = sorted(min(place, len(whole)) for place in places)
    ends = [0, *cuts, len(whole)]
    lengths = [after - before for before, after in pairwise(ends)]
    bodies = list(cut([memoryview(content) for content in contents], lengths))
    assert [len(body) for body in bodies] == lengths
    for body, (before, after) in zip(bodies, pairwise(ends), strict=True):
        assert b"".join(body) == whole[before:after]
        assert body.sha256() == hashlib.sha256(whole[before:after]).hexdigest()


def test_nothing_is_copied() -> None:
    memory = bytearray(b"abcdef")
    first, second = cut([memoryview(memory)], [2, 4])
    memory[1:3] = b"XY"
    assert (b"".join(first), b"".join(second)) == (b"aX", b"Ydef")


def test_an_empty_body_is_no_body() -> None:
    assert not Pieces([])
