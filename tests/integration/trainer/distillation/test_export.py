"""The exported student is a stock pipeline with the student's weights, or it is not there."""

import json
import logging
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from diffusers import (
    FlowMatchEulerDiscreteScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
)
from torch import Tensor

from sid_trainer.config import RunConfig
from sid_trainer.contract import FailureReason, TrainerError
from sid_trainer.export import Edition, ExportedNetwork, export_student, require_room
from sid_trainer.export.card import CardFacts, model_card
from sid_trainer.method.sampler import scheduler_config
from sid_trainer.storage import FileStorage


def config(**changes: object) -> RunConfig:
    return RunConfig.model_validate(
        {
            "name": "tiny",
            "teacher": {"model": "owner/teacher", "revision": "abc"},
            "data": {"prompts": {"uri": "/prompts.txt"}},
            "storage": {"uri": "file:///run"},
            "training": {"batchSize": 8, "precision": "fp32"},
            **changes,
        }
    )


def student_of(teacher: Path) -> dict[str, Tensor]:
    torch.manual_seed(3)
    transformer = SD3Transformer2DModel.from_pretrained(teacher, subfolder="transformer")
    return {name: torch.randn_like(value) for name, value in transformer.state_dict().items()}


def network(teacher: Path, state: dict[str, Tensor], dtype: torch.dtype) -> ExportedNetwork:
    with torch.device("meta"):
        module = SD3Transformer2DModel.from_config(
            json.loads((teacher / "transformer" / "config.json").read_text())
        )
    return ExportedNetwork("transformer", module, state, dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_stock_diffusers_loads_the_student(
    tiny_sd3: Path, tmp_path: Path, dtype: torch.dtype
) -> None:
    state, storage, run = student_of(tiny_sd3), FileStorage(tmp_path), config()
    uri = export_student(
        storage,
        run,
        tiny_sd3,
        network(tiny_sd3, state, dtype),
        scheduler_config(run.student),
        Edition(10),
    )
    assert uri == (tmp_path / "student").as_uri()
    pipeline = StableDiffusion3Pipeline.from_pretrained(tmp_path / "student", dtype=dtype)
    loaded = pipeline.transformer.state_dict()
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[name], state[name].to(dtype)) for name in state)
    assert isinstance(pipeline.scheduler, FlowMatchEulerDiscreteScheduler)
    pipeline.scheduler.set_timesteps(4)
    assert pipeline.scheduler.sigmas[:4].tolist() == pytest.approx([1.0, 0.75, 0.5, 0.25])
    for component in ("vae", "text_encoder", "text_encoder_3", "tokenizer"):
        for original in (tiny_sd3 / component).iterdir():
            copied = tmp_path / "student" / component / original.name
            assert copied.read_bytes() == original.read_bytes()


def test_the_student_is_written_in_the_cache_and_nothing_stays(
    tiny_sd3: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Told(FileStorage):
        def put_file(self, key: str, path: Path) -> None:
            written.add(path)
            super().put_file(key, path)

    cache, written = tmp_path / "cache", set[Path]()
    monkeypatch.setenv("SID_CACHE", str(cache))
    state, storage, run = student_of(tiny_sd3), Told(tmp_path), config()
    exported = network(tiny_sd3, state, torch.float32)
    export_student(storage, run, tiny_sd3, exported, scheduler_config(run.student), Edition(10))
    (folder,) = {path.parents[-len(cache.parts) - 2] for path in written}
    assert folder.parent == cache / "exports"
    assert not folder.exists()
    (folder / "transformer").mkdir(parents=True)  # of a process that was killed
    (folder / "transformer" / "left.safetensors").write_bytes(b"old")
    export_student(storage, run, tiny_sd3, exported, scheduler_config(run.student), Edition(20))
    assert not storage.exists("student/transformer/left.safetensors")
    assert not folder.exists()


def test_a_student_without_room_is_told_with_the_remedy() -> None:
    with pytest.raises(TrainerError, match=r"has 2000000000\.0 GB, .* SID_CACHE") as told:
        require_room(10**18, torch.bfloat16)
    assert told.value.reason is FailureReason.STORAGE_UNAVAILABLE


def test_weights_in_other_variants_are_not_exported(tiny_sd3: Path, tmp_path: Path) -> None:
    teacher = shutil.copytree(tiny_sd3, tmp_path / "teacher")
    (teacher / "text_encoder_3" / "model.fp16-00001-of-00002.safetensors").write_bytes(b"half")
    state, storage, run = student_of(teacher), FileStorage(tmp_path), config()
    exported = network(teacher, state, torch.float32)
    export_student(storage, run, teacher, exported, scheduler_config(run.student), Edition(10))
    names = {path.name for path in (tmp_path / "student" / "text_encoder_3").iterdir()}
    assert "model.safetensors" in names
    assert not any("fp16" in name for name in names)


def test_an_earlier_export_is_replaced_whole(tiny_sd3: Path, tmp_path: Path) -> None:
    state, storage, run = student_of(tiny_sd3), FileStorage(tmp_path), config()
    storage.put_bytes("student/transformer/left-over.safetensors", b"old")
    storage.put_bytes("student/model_index.json", b"old")
    exported = network(tiny_sd3, state, torch.float32)
    export_student(storage, run, tiny_sd3, exported, scheduler_config(run.student), Edition(10))
    assert not storage.exists("student/transformer/left-over.safetensors")
    assert storage.get_bytes("student/model_index.json") != b"old"


def test_large_files_of_the_teacher_go_up_once(
    tiny_sd3: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Counting(FileStorage):
        def put_file(self, key: str, path: Path) -> None:
            uploaded.append(key)
            super().put_file(key, path)

    monkeypatch.setattr("sid_trainer.export.student._LARGE", 1_000)
    storage, run, uploads = Counting(tmp_path), config(), []
    for iteration in (10, 20):
        uploaded: list[str] = []
        exported = network(tiny_sd3, student_of(tiny_sd3), torch.float32)
        edition = Edition(iteration, "student-best")
        export_student(storage, run, tiny_sd3, exported, scheduler_config(run.student), edition)
        uploads.append(set(uploaded))
    saved = uploads[0] - uploads[1]
    assert "student-best/vae/diffusion_pytorch_model.safetensors" in saved
    assert all(storage.exists(key) for key in uploads[0])
    assert not any("transformer/" in key for key in saved)
    assert "student-best/README.md" in uploads[1]

    other = shutil.copytree(tiny_sd3, tmp_path / "other")
    weights = other / "vae/diffusion_pytorch_model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    exported = network(tiny_sd3, student_of(tiny_sd3), torch.float32)
    edition = Edition(30, "student-best")
    export_student(storage, run, other, exported, scheduler_config(run.student), edition)
    key = "student-best/vae/diffusion_pytorch_model.safetensors"
    assert storage.get_bytes(key) == weights.read_bytes(), "another teacher had the folder"


def test_a_teacher_of_the_hub_is_told_by_its_commit(tiny_sd3: Path, tmp_path: Path) -> None:
    commit = "0123456789" * 4
    teacher, storage, run = tmp_path / commit, FileStorage(tmp_path / "run"), config()
    shutil.copytree(tiny_sd3, teacher)
    exported = network(teacher, student_of(teacher), torch.float32)
    export_student(storage, run, teacher, exported, scheduler_config(run.student), Edition(10))
    card = storage.get_bytes("student/README.md").decode()
    assert yaml.safe_load(card.split("---")[1])["base_model"] == run.teacher.model
    assert f"`{run.teacher.model}` (revision `{commit}`)" in card


def test_the_teachers_licence_and_the_results_go_with_the_student(
    tiny_sd3: Path, tmp_path: Path
) -> None:
    teacher = tmp_path / "teacher"
    shutil.copytree(tiny_sd3, teacher)
    (teacher / "README.md").write_text("---\nlicense: other\nlicense_name: x-non-commercial\n---\n")
    (teacher / "LICENSE.md").write_text("The X Licence\n")
    storage = FileStorage(tmp_path / "run")
    storage.put_bytes("samples/iter-00000010.png", b"picture")
    run = config(evaluation={"metrics": {"samples": 7, "clipScore": {"model": "openai/clip"}}})
    exported = network(teacher, student_of(teacher), torch.float32)
    edition = Edition(10, metrics={"clipScore": 0.33}, teacher={"clipScore": 0.31})
    export_student(storage, run, teacher, exported, scheduler_config(run.student), edition)
    assert storage.get_bytes("student/LICENSE.md") == b"The X Licence\n"
    assert storage.get_bytes("student/samples.png") == b"picture"
    card = storage.get_bytes("student/README.md").decode()
    front = yaml.safe_load(card.split("---")[1])
    assert (front["license"], front["license_name"]) == ("other", "x-non-commercial")
    assert "allows no commercial use" in card
    assert "[LICENSE.md](LICENSE.md)" in card
    assert "![samples](samples.png)" in card
    assert "| CLIP score (higher is better) | 0.33 | 0.31 |" in card
    assert "| metric | student, 4 steps | teacher, 28 steps with guidance 4.5 |" in card
    assert "base_model" not in front, "it came from a folder"
    assert "| CLIP model | `openai/clip` |" in card


def test_a_failed_upload_leaves_no_index(tiny_sd3: Path, tmp_path: Path) -> None:
    class Failing(FileStorage):
        def put_file(self, key: str, path: Path) -> None:
            if "vae" in key:
                raise TrainerError(FailureReason.STORAGE_UNAVAILABLE, "gone")
            super().put_file(key, path)

    storage, run = Failing(tmp_path), config()
    storage.put_bytes("student/model_index.json", b"of an earlier export")
    exported = network(tiny_sd3, student_of(tiny_sd3), torch.float32)
    with pytest.raises(TrainerError, match="gone"):
        export_student(storage, run, tiny_sd3, exported, scheduler_config(run.student), Edition(10))
    assert not storage.exists("student/model_index.json")


@pytest.mark.parametrize("wrong", ["empty", "missing", "unknown", "nan"])
def test_wrong_weights_are_refused_before_upload(
    tiny_sd3: Path, tmp_path: Path, wrong: str
) -> None:
    state, storage, run = student_of(tiny_sd3), FileStorage(tmp_path), config()
    name = "proj_out.weight"
    match wrong:
        case "empty":
            state[name] = torch.empty(0)
        case "missing":
            del state[name]
        case "unknown":
            state["other"] = torch.zeros(1)
        case "nan":
            state[name][0] = float("nan")
    exported = network(tiny_sd3, state, torch.float32)
    with pytest.raises((ValueError, RuntimeError, TrainerError)):
        export_student(storage, run, tiny_sd3, exported, scheduler_config(run.student), Edition(10))
    assert storage.list() == []


def test_pickled_weights_and_code_of_the_teacher_are_left_out(
    tiny_sd3: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    teacher = tmp_path / "teacher"
    shutil.copytree(tiny_sd3, teacher)
    (teacher / "vae" / "pytorch_model.bin").write_bytes(b"")
    (teacher / "vae" / "code.py").write_text("")
    storage, run = FileStorage(tmp_path / "run"), config()
    exported = network(teacher, student_of(teacher), torch.float32)
    with caplog.at_level(logging.WARNING):
        export_student(storage, run, teacher, exported, scheduler_config(run.student), Edition(10))
    assert not storage.exists("student/vae/pytorch_model.bin")
    assert not storage.exists("student/vae/code.py")
    assert "code.py" in caplog.text


def test_the_card_tells_how_to_use_the_student() -> None:
    card = model_card(
        config(), CardFacts("FluxPipeline", 1000, "abc", on_hub=True, call={"height": 64})
    )
    front = yaml.safe_load(card.split("---")[1])
    assert front["base_model"] == "owner/teacher"
    assert "num_inference_steps=4, guidance_scale=1.0, height=64" in card
    assert "**global** generator" in card
    assert "8,000 generated images" in card
    assert "| Noise levels | 1, 0.75, 0.5, 0.25 |" in card
    deterministic = config(student={"noise": "ddim", "steps": 3})
    card = model_card(deterministic, CardFacts("StableDiffusion3Pipeline", 1000))
    assert "global" not in card
    assert "| Noise levels | 1, 0.667, 0.333 |" in card
