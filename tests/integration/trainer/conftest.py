"""What all tests of the trainer's integration share: a node's cache that nobody else has."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def _node_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SID_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
