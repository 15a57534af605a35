"""Encodings of each family against the stock pipeline's own call, and what they depend on."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline
from safetensors.torch import load_file, save_file
from torch import Tensor

from sid_trainer.config import TeacherConfig
from sid_trainer.contract import FailureReason, TrainerError
from sid_trainer.digits import text
from sid_trainer.teachers import Teacher, open_teacher
from sid_trainer.teachers.converted_encoders import shared_pipeline, weight_files
from sid_trainer.teachers.encoder_identity import encoder_identity
from sid_trainer.teachers.encoding import ENCODER_BATCH

# diffusers' DPM-Solver hands torch tensors to numpy in a way that numpy 2 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

LONG = "A red cat, asleep. " * 200
PROMPTS = ["A red cat, asleep", "", LONG]
SANA = {"height": 128, "width": 128, "use_resolution_binning": False}
SPRINT = SANA | {"max_timesteps": 1.2, "intermediate_timesteps": None}
CALLS: dict[str, dict[str, Any]] = {
    "sd3": {"height": 4, "width": 4},
    "sana": SANA,
    "sana-sprint": SPRINT,
    "flux": {"height": 16, "width": 16},
}
TOKENS = {"sd3": text.MAX_TOKENS + 256, "sana": 300, "sana-sprint": 300, "flux": 512}


@pytest.fixture
def directory(tiny_pipeline: Callable[[str], Path]) -> Callable[[str], Path]:
    return tiny_pipeline


def teacher(directory: Path, dtype: torch.dtype = torch.float32) -> Teacher:
    config = TeacherConfig(model="teacher")
    return open_teacher(config, directory, torch.device("cpu"), dtype)


def plain_call(directory: Path, prompts: list[str], dtype: torch.dtype, **call: Any) -> Any:
    """What the stock pipeline's plain call gives its network for some prompts, unguided."""
    pipeline = DiffusionPipeline.from_pretrained(directory, dtype=dtype)
    pipeline.set_progress_bar_config(disable=True)
    seen: list[dict[str, Any]] = []

    def network_runs(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        seen.append(kwargs)

    pipeline.transformer.register_forward_pre_hook(network_runs, with_kwargs=True)
    pipeline(prompts, num_inference_steps=1, guidance_scale=1.0, output_type="latent", **call)
    return seen[0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", CALLS)
def test_the_network_is_given_what_the_plain_call_gives_it(
    directory: Callable[[str], Path], name: str, dtype: torch.dtype
) -> None:
    # The instruction is asked for by the call, whatever the prompt; the empty prompt comes as the
    # negative prompt, without it, and is compared in test_stock_step.
    prompts = [prompt for prompt in PROMPTS if prompt or not name.startswith("sana")]
    stock = plain_call(directory(name), prompts, dtype, **CALLS[name])
    ours = teacher(directory(name), dtype).encode(prompts).tensors
    theirs = {"prompt_embeds": stock["encoder_hidden_states"]}
    if name.startswith("sana"):
        theirs["mask"] = stock["encoder_attention_mask"]
    else:
        theirs["pooled"] = stock["pooled_projections"]
    for key, expected in theirs.items():
        assert ours[key].dtype == expected.dtype
        assert torch.equal(ours[key], expected)
    assert ours["prompt_embeds"].shape[1] == TOKENS[name]
    assert not torch.equal(ours["prompt_embeds"][0], ours["prompt_embeds"][-1])


@pytest.mark.parametrize("name", ["sana", "sana-sprint"])
def test_the_mask_ends_with_the_prompt(directory: Callable[[str], Path], name: str) -> None:
    mask = teacher(directory(name)).encode(PROMPTS).tensors["mask"]
    assert mask[1].tolist() == [1] + [0] * 299  # <bos> alone
    assert 1 < mask[0].sum() < 300
    assert mask[2].sum() == 300


@pytest.mark.parametrize("name", CALLS)
def test_many_prompts_are_one_visit(
    directory: Callable[[str], Path], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = teacher(directory(name))
    module = sys.modules[type(adapter).encode.__module__]
    visits = []
    original = module.on_accelerator
    monkeypatch.setattr(
        module, "on_accelerator", lambda *given: visits.append(given) or original(*given)
    )
    prompts = ["" if i % 7 == 3 else f"cat number {i}" for i in range(2 * ENCODER_BATCH + 3)]
    together = adapter.encode(prompts)
    assert len(visits) == 1
    for row in (0, 3, 16, 34):
        for key, alone in adapter.encode([prompts[row]]).tensors.items():
            torch.testing.assert_close(together.tensors[key][row : row + 1], alone)


def stored_as(directory: Path, target: Path, dtype: torch.dtype) -> Path:
    """The pipeline with text encoders of another type, as SD3's lie on the Hub."""
    pipeline = DiffusionPipeline.from_pretrained(directory)
    for name, component in pipeline.components.items():
        if name.startswith("text_encoder"):
            component.to(dtype)
    pipeline.save_pretrained(target)
    return target


def mapped_files() -> list[tuple[range, str]]:
    lines = (line.split(maxsplit=5) for line in Path("/proc/self/maps").read_text().splitlines())
    return [
        (range(*(int(end, 16) for end in fields[0].split("-"))), fields[5])
        for fields in lines
        if len(fields) == 6
    ]


def backing(tensor: Tensor) -> str:
    """The file whose page a tensor begins in, or nothing."""
    found = (file for pages, file in mapped_files() if tensor.data_ptr() in pages)
    return next(found, "")


def test_encoders_of_another_type_are_converted_once_a_node(
    directory: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SID_CACHE", str(tmp_path / "cache"))
    half = stored_as(directory("sd3"), tmp_path / "half", torch.float16)
    assert shared_pipeline(half, torch.float16) == half
    assert not (tmp_path / "cache").exists()
    shared = shared_pipeline(half, torch.bfloat16)
    assert shared.is_relative_to(tmp_path / "cache")
    made = {file: file.stat().st_mtime_ns for file in shared.rglob("*")}
    assert shared_pipeline(half, torch.bfloat16) == shared
    assert made == {file: file.stat().st_mtime_ns for file in shared.rglob("*")}
    (file,) = weight_files(shared / "text_encoder_3")
    assert {tensor.dtype for tensor in load_file(file).values()} == {torch.bfloat16}

    adapter: Any = teacher(half, torch.bfloat16)
    ours = adapter.encode(PROMPTS).tensors
    stock = plain_call(half, PROMPTS, torch.bfloat16, **CALLS["sd3"])
    assert torch.equal(ours["prompt_embeds"], stock["encoder_hidden_states"])
    assert torch.equal(ours["pooled"], stock["pooled_projections"])
    encoder = adapter._text_pipeline.text_encoder_3
    assert backing(encoder.encoder.block[0].layer[1].DenseReluDense.wo.weight) == str(file)


def test_encoders_without_safetensors_are_refused(
    directory: Callable[[str], Path], tmp_path: Path
) -> None:
    copied = shutil.copytree(directory("flux"), tmp_path / "flux")
    (copied / "text_encoder_2" / "model.safetensors").unlink()
    with pytest.raises(Exception, match=r"no text_encoder_2/model\.safetensors: save it with"):
        teacher(copied).encode(["a"])


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n"


def damaged(directory: Path, target: Path, file: str, content: bytes | None) -> Teacher:
    """A copy with other content of a file, or without it."""
    shutil.copytree(directory, target)
    (target / file).unlink()
    if content is not None:
        (target / file).write_bytes(content)
    return teacher(target)


@pytest.mark.parametrize(
    ("name", "file", "content", "reason", "message"),
    [
        (
            "flux",
            "text_encoder_2/model.safetensors",
            POINTER,
            FailureReason.INVALID_DATA,
            r"text_encoder_2/model\.safetensors is no whole safetensors \(a git-LFS pointer\?",
        ),
        (
            "flux",
            "tokenizer_2/tokenizer.json",
            POINTER,
            FailureReason.INVALID_DATA,
            "text encoders and tokenizers cannot be loaded: fetch it again, whole",
        ),
        (
            "sana",
            "text_encoder/config.json",
            None,
            FailureReason.NOT_FOUND,
            r"text_encoder/config\.json does not exist: give the whole pipeline",
        ),
        (
            "sd3",
            "tokenizer_2/tokenizer.json",
            None,
            FailureReason.NOT_FOUND,
            r"vocabulary of teacher\.model's tokenizer_2 \(tokenizer\.json\) does not exist",
        ),
    ],
)
def test_damaged_parts_are_told(
    directory: Callable[[str], Path],
    tmp_path: Path,
    name: str,
    file: str,
    content: bytes | None,
    reason: FailureReason,
    message: str,
) -> None:
    adapter = damaged(directory(name), tmp_path / name, file, content)
    with pytest.raises(TrainerError, match=message) as told:
        adapter.encode(["a"])
    assert told.value.reason is reason


def test_an_autoencoder_that_is_absent_or_cut_short_is_told(
    directory: Callable[[str], Path], tmp_path: Path
) -> None:
    file = "vae/diffusion_pytorch_model.safetensors"
    content = (directory("sd3") / file).read_bytes()
    for number, (damage, reason, message) in enumerate(
        [
            (POINTER, FailureReason.INVALID_DATA, rf"{file} is no whole safetensors"),
            (content[:-1], FailureReason.INVALID_DATA, rf"{file} is no whole safetensors"),
            (None, FailureReason.NOT_FOUND, rf"{file} is missing from the model"),
        ]
    ):
        adapter = damaged(directory("sd3"), tmp_path / str(number), file, damage)
        with pytest.raises(TrainerError, match=message) as told:
            adapter.decode(torch.zeros(1, 4, 2, 2))
        assert told.value.reason is reason


def test_a_part_of_an_encoder_that_is_absent_or_cut_short_is_told(
    directory: Callable[[str], Path], tmp_path: Path
) -> None:
    pipeline = DiffusionPipeline.from_pretrained(directory("flux"))
    pipeline.text_encoder_2.save_pretrained(tmp_path / "t5", max_shard_size="20KB")
    files = weight_files(tmp_path / "t5")
    copied = shutil.copytree(directory("flux"), tmp_path / "flux")
    shutil.rmtree(copied / "text_encoder_2")
    shutil.copytree(tmp_path / "t5", copied / "text_encoder_2")
    victim = copied / "text_encoder_2" / files[-1].name
    victim.write_bytes(files[-1].read_bytes()[:-1])
    with pytest.raises(TrainerError, match=rf"{victim} is no whole safetensors") as told:
        teacher(copied).encode(["a"])
    assert told.value.reason is FailureReason.INVALID_DATA
    victim.unlink()
    with pytest.raises(TrainerError, match=rf"{victim} does not exist: fetch the model") as told:
        teacher(copied).encode(["a"])
    assert told.value.reason is FailureReason.NOT_FOUND


@pytest.mark.parametrize("name", ["sd3", "sana", "flux"])
def test_an_encoder_that_lacks_weights_is_told(
    directory: Callable[[str], Path], tmp_path: Path, name: str
) -> None:
    """The library would fill them with random numbers, and only warn."""
    copied = shutil.copytree(directory(name), tmp_path / name)
    for encoder in sorted(copied.glob("text_encoder*")):
        (file,) = weight_files(encoder)
        whole = load_file(file)
        absent = sorted(whole)[-1]
        save_file({key: whole[key] for key in whole if key != absent}, file, {"format": "pt"})
        with pytest.raises(TrainerError, match=f"{encoder.name} lacks [12] of its weights") as told:
            teacher(copied).encode(["a"])
        assert told.value.reason is FailureReason.INVALID_DATA
        save_file(whole, file, {"format": "pt"})
    teacher(copied).encode(["a"])


def test_the_identity_is_that_of_the_encodings(
    directory: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SID_CACHE", str(tmp_path / "cache"))
    original = directory("flux")
    copied = shutil.copytree(original, tmp_path / "copied")
    identity = teacher(original).encoding_identity()
    assert teacher(copied).encoding_identity() == identity
    (copied / "scheduler" / "scheduler_config.json").write_text("{}")
    assert teacher(copied).encoding_identity() == identity
    assert teacher(original, torch.bfloat16).encoding_identity() != identity
    for number, name in enumerate(
        ["tokenizer_2/tokenizer_config.json", "text_encoder/config.json"]
    ):
        changed = shutil.copytree(original, tmp_path / str(number))
        (changed / name).write_text((changed / name).read_text() + " ")
        assert encoder_identity(changed) != encoder_identity(original)
    changed = shutil.copytree(original, tmp_path / "weights")
    weights = changed / "text_encoder" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert encoder_identity(changed) != encoder_identity(original)
    assert teacher(directory("flux-without-guidance")).encoding_identity() != identity
