"""``remove`` empties a run's folder, and nothing else."""

from pathlib import Path

import pytest

from sid_trainer.cli import main
from sid_trainer.commands.remove import remove
from sid_trainer.contract import ExitCode, TrainerError


def test_the_folder_is_emptied_and_its_neighbour_left(tmp_path: Path) -> None:
    for name in ("run/checkpoints/a", "run/student/b", "running/c"):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    folder = (tmp_path / "run").as_uri()
    assert main(["remove", "--storage", folder]) == ExitCode.DONE
    assert [file.name for file in tmp_path.rglob("*") if file.is_file()] == ["c"]
    assert remove(folder) == 0


@pytest.mark.parametrize("uri", ["s3://bucket/", "file:///", "file:///run/..", "file:///."])
def test_a_bucket_or_file_system_is_not_removed(uri: str) -> None:
    with pytest.raises(TrainerError, match="is a whole bucket or file system"):
        remove(uri)


def test_no_other_folder_is_emptied_where_a_slash_is_missing(tmp_path: Path) -> None:
    (tmp_path / "kept").touch()
    with pytest.raises(TrainerError, match=f"such as file:///.*/oops{tmp_path}$"):
        remove(f"file://oops{tmp_path}")
    assert (tmp_path / "kept").exists()
