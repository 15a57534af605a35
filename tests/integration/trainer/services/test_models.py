"""Models and files from a path and from a real MinIO."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from sid_trainer.config import RunConfig
from sid_trainer.contract import FailureReason, TrainerError
from sid_trainer.launch.preflight import check_inputs
from sid_trainer.models.checking import check_file, check_model
from sid_trainer.models.fetching import fetch_file, fetch_model

INDEX = json.dumps({"_class_name": "StableDiffusion3Pipeline"}).encode()


@pytest.fixture
def endpoint(minio: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in minio.environ.items():
        monkeypatch.setenv(name, value)
    return minio.endpoint


@pytest.fixture
def uploaded(minio: Any, endpoint: str, prefix: str) -> str:
    storage = minio.storage(prefix)
    storage.put_bytes("model_index.json", INDEX)
    storage.put_bytes("transformer/model.safetensors", b"weights")
    storage.put_bytes("transformer/model.fp16-00001-of-00002.safetensors", b"weights")
    storage.put_bytes("transformer/pytorch_model.bin", b"pickled")
    storage.put_bytes("prompts.txt", b"a seven\n")
    return storage.uri()


def test_a_path_is_used_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_bytes(INDEX)
    assert fetch_model(str(tmp_path)) == tmp_path
    check_model(str(tmp_path))


def test_a_folder_in_s3_is_downloaded_once_without_pickles(
    uploaded: str, endpoint: str, tmp_path: Path
) -> None:
    with ThreadPoolExecutor(4) as pool:
        folders = set(pool.map(lambda _: fetch_model(uploaded, None, endpoint, tmp_path), range(4)))
    (folder,) = folders
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert files == {"model_index.json", "prompts.txt", "transformer/model.safetensors"}
    marker = folder / "marker"
    marker.touch()
    assert fetch_model(uploaded, None, endpoint, tmp_path) == folder
    assert marker.exists(), "a second start downloads nothing"


def test_one_component_comes_with_the_index_alone(
    minio: Any, uploaded: str, endpoint: str, prefix: str, tmp_path: Path
) -> None:
    index = json.loads(INDEX) | {name: ["diffusers", "X"] for name in ("transformer", "vae")}
    minio.storage(prefix).put_bytes("model_index.json", json.dumps(index).encode())
    check_model(uploaded, endpoint, "transformer")  # though the folder of the VAE is missing
    folder = fetch_model(uploaded, None, endpoint, tmp_path, only="transformer")
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert files == {"model_index.json", "transformer/model.safetensors"}


def test_new_content_is_fetched_anew(
    minio: Any, uploaded: str, endpoint: str, prefix: str, tmp_path: Path
) -> None:
    before = fetch_model(uploaded, None, endpoint, tmp_path)
    minio.storage(prefix).put_bytes("transformer/model.safetensors", b"changed")
    after = fetch_model(uploaded, None, endpoint, tmp_path)
    assert after != before
    assert (after / "transformer/model.safetensors").read_bytes() == b"changed"


def test_a_torn_download_is_completed(uploaded: str, endpoint: str, tmp_path: Path) -> None:
    folder = fetch_model(uploaded, None, endpoint, tmp_path)
    (folder / "model_index.json").unlink()
    folder.rename(folder.with_name(folder.name + ".partial"))
    assert (fetch_model(uploaded, None, endpoint, tmp_path) / "model_index.json").exists()


def test_one_file_is_fetched(uploaded: str, endpoint: str, tmp_path: Path) -> None:
    check_file(f"{uploaded}/prompts.txt", endpoint)
    path = fetch_file(f"{uploaded}/prompts.txt", endpoint, tmp_path)
    assert path.read_text() == "a seven\n"
    assert path.name == "prompts.txt"
    local = tmp_path / "local.txt"
    local.touch()
    assert fetch_file(str(local)) == local


def test_what_is_not_there_is_named(uploaded: str, endpoint: str, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    for use, name in [
        (lambda: fetch_model("/no/such/teacher"), "/no/such/teacher does not exist"),
        (lambda: fetch_model(str(empty)), "empty/model_index.json does not exist"),
        (lambda: check_model(str(empty)), "empty/model_index.json does not exist"),
        (lambda: fetch_model(uploaded + "x", None, endpoint, tmp_path), f"{uploaded}x at "),
        (lambda: fetch_model(uploaded + "/transformer", None, endpoint, tmp_path), "/model_index"),
        (lambda: check_model(uploaded + "x", endpoint), f"{uploaded}x/model_index.json does not"),
        (lambda: fetch_file(uploaded + "/none.txt", endpoint, tmp_path), "/none.txt does not"),
        (lambda: check_file(uploaded + "/prompts", endpoint), "/prompts does not exist"),
        (lambda: check_file("s3://nowhere/x", endpoint), "nowhere"),
        (lambda: fetch_file("/none.txt"), "/none.txt does not exist"),
        (lambda: fetch_model("no/such/teacher"), "mounted, or give a Hugging Face id such as"),
    ]:
        with pytest.raises(TrainerError) as raised:
            use()
        assert raised.value.reason is FailureReason.NOT_FOUND
        assert name in str(raised.value)


def test_a_file_is_not_looked_for_as_a_model() -> None:
    with pytest.raises(TrainerError, match=r"no/such\.pt does not exist: .* is mounted$"):
        fetch_file("no/such.pt")


def test_prompts_that_are_no_file_are_refused(tmp_path: Path) -> None:
    for uri, remedy in [
        (str(tmp_path), "is not a file: give the file itself"),
        ("s3://bucket", "give s3://bucket/key"),
        ("s3://bucket/folder/", "give s3://bucket/key"),
    ]:
        for use in (check_file, fetch_file):
            with pytest.raises(TrainerError, match=remedy) as raised:
                use(uri)
            assert raised.value.reason is FailureReason.INVALID_CONFIGURATION


def test_an_index_that_names_no_pipeline_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text("[]")
    with pytest.raises(TrainerError, match="does not name a pipeline class"):
        fetch_model(str(tmp_path))


def test_a_pipeline_that_cannot_be_distilled_is_told_before_it_is_fetched(
    minio: Any, uploaded: str, endpoint: str, prefix: str, tmp_path: Path
) -> None:
    index = json.dumps({"_class_name": "PixArtPipeline"}).encode()
    minio.storage(prefix).put_bytes("model_index.json", index)
    (tmp_path / "model_index.json").write_bytes(index)
    for reference in (uploaded, str(tmp_path)):
        with pytest.raises(TrainerError, match=f"{reference} is a PixArtPipeline, which") as told:
            check_model(reference, endpoint)
        assert told.value.reason is FailureReason.INVALID_CONFIGURATION


def test_a_family_that_cannot_open_the_teacher_is_told_before_it_is_fetched(
    tmp_path: Path,
) -> None:
    (tmp_path / "model_index.json").write_bytes(INDEX)
    config = RunConfig.model_validate(
        {
            "teacher": {"model": str(tmp_path), "family": "flux"},
            "data": {"prompts": {"uri": "/prompts.txt"}},
            "storage": {"uri": (tmp_path / "run").as_uri()},
        }
    )
    with pytest.raises(TrainerError, match=r"teacher\.family is flux but .* of family sd3") as told:
        check_inputs(config)
    assert told.value.reason is FailureReason.INVALID_CONFIGURATION


def test_a_pipeline_without_autoencoder_is_refused_before_it_is_fetched(
    minio: Any, uploaded: str, endpoint: str, prefix: str, tmp_path: Path
) -> None:
    index = json.loads(INDEX) | {
        "transformer": ["diffusers", "SD3Transformer2DModel"],
        "vae": ["diffusers", "AutoencoderKL"],
        "text_encoder_3": [None, None],
        "_diffusers_version": "0.42.1",
    }
    minio.storage(prefix).put_bytes("model_index.json", json.dumps(index).encode())
    local = tmp_path / "local"
    (local / "transformer").mkdir(parents=True)
    (local / "model_index.json").write_text(json.dumps(index))
    for reference in (uploaded, str(local)):
        with pytest.raises(TrainerError, match=f"{reference}/vae, .* does not exist: give") as told:
            check_model(reference, endpoint)
        assert told.value.reason is FailureReason.NOT_FOUND
    (local / "vae").mkdir()
    check_model(str(local))
