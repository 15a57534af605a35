"""The same models on all ranks and in all attempts, though a branch moves or files change."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from sid_trainer.checkpoint import layout
from sid_trainer.checkpoint.manifest import Manifest, PartFile
from sid_trainer.checkpoint.settings import digest, resume_settings
from sid_trainer.config import RunConfig
from sid_trainer.contract import FailureReason, TrainerError
from sid_trainer.launch.preflight import check_inputs
from sid_trainer.models.fetching import fetch_folder
from sid_trainer.models.origins import TEACHER, Pins, find_pins, require_same_models, sampled
from sid_trainer.models.scorers import scorer_commits, with_commits
from sid_trainer.storage import FileStorage
from sid_trainer.training.inputs import Inputs, fetch_inputs
from tests.integration.trainer.hub_server import hub_server

COMMITS = ["a" * 40, "b" * 40]
INDEX = json.dumps(
    {"_class_name": "StableDiffusion3Pipeline", "transformer": ["diffusers", "SD3"]}
).encode()
WEIGHTS = "transformer/diffusion_pytorch_model.safetensors"


@dataclass
class Hub:
    """A model whose branch ``main`` was pushed to; ``there`` are the commits that it has."""

    main: str = COMMITS[0]
    there: list[str] = field(default_factory=lambda: list(COMMITS))
    moves_when_asked: Callable[[str], bool] = lambda _: False

    def answer(self, handler: BaseHTTPRequestHandler) -> tuple[int, dict[str, str], bytes]:
        _, _, rest = handler.path.partition("?")[0].partition("/o/n/")
        action, _, rest = rest.partition("/")
        revision, _, name = rest.partition("/")
        commit = self.main if revision == "main" else revision
        if "/o/n/" not in handler.path:
            return 404, {}, b"{}"  # the client looks who uses it
        if commit not in self.there:
            return 404, {"X-Error-Code": "RevisionNotFound"}, b"{}"
        if action in ("revision", "tree"):
            told = {"revision": model_info, "tree": tree}[action](commit)
            return 200, {"Content-Type": "application/json"}, json.dumps(told).encode()
        data = files_of(commit)[name]
        if self.moves_when_asked(name):
            self.main = COMMITS[1]
        return 200, {"ETag": f'"{commit}{name}"', "X-Repo-Commit": commit}, data


def files_of(commit: str) -> Mapping[str, bytes]:
    """Files of the model at a commit."""
    weights = commit.encode()
    pipeline = {"model_index.json": INDEX, WEIGHTS: weights}
    return pipeline | {"config.json": b"{}", "model.safetensors": weights}


def model_info(commit: str) -> Any:
    """What the Hub says of it."""
    siblings = [{"rfilename": name} for name in files_of(commit)]
    return {"id": "o/n", "_id": "1", "sha": commit, "siblings": siblings}


def tree(commit: str) -> Any:
    """What the Hub says of its files."""
    return [
        {"type": "file", "path": name, "size": len(data), "oid": commit}
        for name, data in files_of(commit).items()
    ]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    state = Hub()
    monkeypatch.setenv("SID_CACHE", str(tmp_path / "node-0"))
    with hub_server(state.answer):
        yield state


@pytest.fixture
def config(tmp_path: Path) -> RunConfig:
    return run_config(tmp_path, "o/n")


def run_config(
    tmp_path: Path, teacher: str, metrics: Any = None, family: str | None = None, **student: str
) -> RunConfig:
    (tmp_path / "prompts.txt").write_text("a seven\n")
    return RunConfig.model_validate(
        {
            "teacher": {"model": teacher, "family": family},
            "evaluation": {"metrics": metrics},
            "student": student,
            "data": {"prompts": {"uri": str(tmp_path / "prompts.txt")}},
            "training": {"iterations": 1},
            "storage": {"uri": f"file://{tmp_path}/run"},
        }
    )


def pins_of(config: RunConfig, tmp_path: Path) -> Pins:
    return find_pins(config, FileStorage(tmp_path / "run"), resume_settings(config))


def commit_checkpoint(config: RunConfig, tmp_path: Path, origins: Mapping[str, str]) -> None:
    """A checkpoint that a run has stored."""
    settings = resume_settings(config)
    manifest = Manifest(
        iteration=3,
        world_size=1,
        attempt=1,
        time=datetime(2026, 1, 1, tzinfo=UTC),
        settings_digest=digest(settings),
        settings=settings,
        parts=(PartFile(key=layout.part_key(1, 0), size=8, checksum=f"xxh3-128:{0:032x}"),),
        origins=dict(origins),
    )
    told = manifest.model_dump_json(by_alias=True).encode()
    FileStorage(tmp_path / "run").put_bytes(layout.manifest_key(3), told)


def weights_of(inputs: Inputs) -> str:
    return (inputs.teacher / WEIGHTS).read_text()


def test_all_nodes_have_the_commit_that_the_first_found(
    hub: Hub, config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pins = pins_of(config, tmp_path)
    inputs = [fetch_inputs(config, pins)]
    hub.main = COMMITS[1]
    monkeypatch.setenv("SID_CACHE", str(tmp_path / "node-1"))
    inputs.append(fetch_inputs(config, pins))
    assert [weights_of(each) for each in inputs] == [COMMITS[0]] * 2
    assert inputs[1].origins == {TEACHER: f"commit:{COMMITS[0]}"}
    require_same_models(Ranks(dict(inputs[1].origins)), inputs[0].origins)


def test_all_files_are_of_one_commit(hub: Hub, config: RunConfig) -> None:
    hub.moves_when_asked = lambda name: name == "model_index.json"
    assert weights_of(fetch_inputs(config, Pins())) == COMMITS[0]


def test_a_resumed_run_has_the_commit_of_its_checkpoint(
    hub: Hub, config: RunConfig, tmp_path: Path
) -> None:
    first = fetch_inputs(config, pins_of(config, tmp_path))
    commit_checkpoint(config, tmp_path, first.origins)
    hub.main = COMMITS[1]
    pins = pins_of(config, tmp_path)
    inputs = fetch_inputs(config, pins)
    assert weights_of(inputs) == COMMITS[0]
    pins.require_teacher(inputs.origins)
    commit_checkpoint(config, tmp_path, {})  # from before origins were kept
    assert pins_of(config, tmp_path).commits == {TEACHER: COMMITS[1]}
    other = config.model_copy(update={"teacher": config.teacher.model_copy(update={"model": "x"})})
    commit_checkpoint(other, tmp_path, first.origins)  # will be refused, for another reason
    assert pins_of(config, tmp_path).commits == {TEACHER: COMMITS[1]}


def test_a_commit_that_is_gone_is_told_with_the_remedy(
    hub: Hub, config: RunConfig, tmp_path: Path
) -> None:
    commit_checkpoint(config, tmp_path, {TEACHER: f"commit:{COMMITS[0]}"})
    hub.main, hub.there = COMMITS[1], COMMITS[1:]
    with pytest.raises(TrainerError, match="give another storage folder to train anew") as refused:
        fetch_inputs(config, pins_of(config, tmp_path))
    assert refused.value.reason is FailureReason.NOT_FOUND
    assert f"teacher.model: the run's checkpoints were made with commit {COMMITS[0]}" in str(
        refused.value
    )


def test_the_first_student_has_a_commit_too(hub: Hub, tmp_path: Path) -> None:
    config = run_config(tmp_path, "o/n", initFrom="o/n")
    pins = pins_of(config, tmp_path)
    hub.main = COMMITS[1]
    inputs = fetch_inputs(config, pins)
    assert (inputs.student / WEIGHTS).read_text() == COMMITS[0]


@pytest.mark.parametrize("place", ["path", "hub"])
def test_a_first_student_that_is_gone_is_not_missed_by_a_run_with_a_checkpoint(
    hub: Hub, tmp_path: Path, place: str
) -> None:
    first = {"path": str(folder(tmp_path / "first", b"first")), "hub": "o/n"}[place]
    config = run_config(tmp_path, str(folder(tmp_path / "teacher", b"one")), initFrom=first)
    inputs = fetch_inputs(config, pins_of(config, tmp_path))
    assert inputs.lost is None

    hub.there = []
    shutil.rmtree(tmp_path / "first", ignore_errors=True)
    shutil.rmtree(tmp_path / "node-0")
    with pytest.raises(TrainerError, match=r"student\.initFrom") as missed:
        fetch_inputs(config, pins_of(config, tmp_path))
    assert missed.value.reason is FailureReason.NOT_FOUND
    for origins in (inputs.origins, {}):  # {}: from before origins were kept
        commit_checkpoint(config, tmp_path, origins)
        again = fetch_inputs(config, pins_of(config, tmp_path))
        assert again.student == again.teacher == tmp_path / "teacher"
        assert again.lost is not None
        assert again.origins.keys() == {TEACHER}
        check_inputs(config)


def test_a_teacher_of_another_family_is_told_before_it_is_fetched(hub: Hub, tmp_path: Path) -> None:
    config = run_config(tmp_path, "o/n", family="flux")
    with pytest.raises(TrainerError, match=r"teacher\.family is flux but .* is of family sd3"):
        pins_of(config, tmp_path)
    assert not list(tmp_path.rglob("*.safetensors"))


SCORERS = {"clipScore": {"model": "o/n"}, "preference": {"model": "o/n", "revision": COMMITS[1]}}


def test_all_ranks_score_with_the_commit_that_the_first_found(hub: Hub, tmp_path: Path) -> None:
    config = run_config(tmp_path, "o/n", metrics=SCORERS)
    commits = scorer_commits(config.evaluation.metrics)
    assert commits == {"clip_score": COMMITS[0], "preference": COMMITS[1]}
    hub.main = COMMITS[1]
    metrics = with_commits(config, commits).evaluation.metrics
    assert metrics is not None
    scorer = metrics.clip_score
    assert scorer is not None
    folder = fetch_folder(scorer.model, scorer.revision)
    assert (folder / "model.safetensors").read_text() == COMMITS[0]


def test_a_scorer_that_is_not_there_is_told_by_its_field(hub: Hub, tmp_path: Path) -> None:
    hub.there = COMMITS[:1]
    config = run_config(tmp_path, "o/n", metrics=SCORERS)
    with pytest.raises(TrainerError, match=rf"preference\.model: o/n at revision {COMMITS[1]} "):
        scorer_commits(config.evaluation.metrics)


def test_scorers_elsewhere_and_none_have_no_commit(tmp_path: Path) -> None:
    elsewhere = run_config(tmp_path, "o/n", metrics={"clipScore": {"model": "s3://b/k"}})
    for config in (elsewhere, run_config(tmp_path, "o/n")):
        assert scorer_commits(config.evaluation.metrics) == {}
        assert with_commits(config, {}) == config


class Ranks:
    """A group whose other rank has a value of its own."""

    rank, world_size = 0, 2

    def __init__(self, other: Any) -> None:
        self._other = other

    def all_gather(self, value: Any) -> list[Any]:
        return [value, self._other]


def folder(path: Path, weights: bytes) -> Path:
    (path / "transformer").mkdir(parents=True, exist_ok=True)
    (path / "model_index.json").write_bytes(INDEX)
    (path / WEIGHTS).write_bytes(weights)
    return path


def test_other_files_on_another_node_are_refused(tmp_path: Path) -> None:
    config = run_config(tmp_path, str(folder(tmp_path / "teacher", b"one")))
    inputs = fetch_inputs(config, Pins())
    same, other = (sampled(folder(tmp_path / name, name.encode())) for name in ("one", "two"))
    require_same_models(Ranks({TEACHER: f"files:{same}"}), inputs.origins)
    with pytest.raises(TrainerError, match=r"teacher.model is not the same on all nodes") as told:
        require_same_models(Ranks({TEACHER: f"files:{other}"}), inputs.origins)
    assert told.value.reason is FailureReason.STORAGE_UNAVAILABLE


def test_other_files_in_another_attempt_are_refused(tmp_path: Path) -> None:
    config = run_config(tmp_path, str(folder(tmp_path / "teacher", b"one")))
    commit_checkpoint(config, tmp_path, fetch_inputs(config, Pins()).origins)
    (tmp_path / "teacher" / "README.md").write_text("a new card")
    pins = pins_of(config, tmp_path)
    pins.require_teacher(fetch_inputs(config, pins).origins)
    folder(tmp_path / "teacher", b"two")
    with pytest.raises(TrainerError, match=r"teacher.model holds other files than when") as told:
        pins.require_teacher(fetch_inputs(config, pins).origins)
    assert told.value.reason is FailureReason.INVALID_CONFIGURATION
    commit_checkpoint(config, tmp_path, {})
    pins = pins_of(config, tmp_path)
    pins.require_teacher(fetch_inputs(config, pins).origins)


@pytest.mark.parametrize("place", [0, 1, -1])
def test_a_sample_sees_other_weights_of_the_same_size(tmp_path: Path, place: int) -> None:
    """Weights that were trained on differ everywhere; the ends are always looked at."""
    weights = bytearray(2**20)
    before = sampled(folder(tmp_path, bytes(weights)))
    assert sampled(folder(tmp_path, bytes(weights))) == before
    weights[place] = 1
    assert sampled(folder(tmp_path, bytes(weights))) != before
