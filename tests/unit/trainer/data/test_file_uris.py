"""What is read and kept at ``file://`` URIs is at the path that they name."""

from __future__ import annotations

from pathlib import Path

import pytest

from sid_trainer.data.encoding_folder import check_cache, open_cache
from sid_trainer.data.images.places import find_parts


@pytest.mark.parametrize("form", ["file://{}", "file:{}", "{}"])
def test_a_cache_is_kept_where_it_is_looked_for(tmp_path: Path, form: str) -> None:
    folder = tmp_path / "cache"
    uri = form.format(folder)
    check_cache(uri)
    open_cache(uri).put_bytes("entry", b"content")
    assert [file.read_bytes() for file in folder.iterdir()] == [b"content"]


def test_the_names_of_shards_are_decoded_as_their_folder_is(tmp_path: Path) -> None:
    folder = tmp_path / "two words"
    folder.mkdir()
    for number in range(2):
        (folder / f"my shard-{number}.tar").touch()
    uri = folder.as_uri() + "/my%20shard-{0..1}.tar"
    assert [part.name for part in find_parts(uri)] == [
        str(folder / f"my shard-{number}.tar") for number in range(2)
    ]
