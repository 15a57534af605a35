"""Encodings of the prompts: made by the chunk, kept, cached."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from sid_trainer.contract import FailureReason, TrainerError
from sid_trainer.data import encoding_entry
from sid_trainer.data.encoding import EncodedPrompts, encode_each
from sid_trainer.data.encoding_cache import MAX_ENTRY, THREADS, CachedEncoder
from sid_trainer.data.encoding_entry import DamagedError, entry_key, packed, unpacked
from sid_trainer.data.encoding_folder import check_cache, open_cache
from sid_trainer.data.prompts import PromptIndex
from sid_trainer.data.prompts.index import write_index
from sid_trainer.data.prompts.order import PromptOrder
from sid_trainer.method.conditions import Condition
from sid_trainer.process.group import SharedError
from sid_trainer.storage import FileStorage
from sid_trainer.teachers.text_encoders import ENCODER_BATCH, encode_in_batches

IDENTITY = {"family": "sd3", "dtype": "torch.bfloat16", "settings": {"t5_tokens": 256}}


class Encoder:
    """Encodes a prompt as its number, and remembers what it was given."""

    def __init__(self, offset: float = 0) -> None:
        self.visits: list[list[str]] = []
        self._offset = offset

    @property
    def given(self) -> list[str]:
        return [prompt for prompts in self.visits for prompt in prompts]

    def __call__(self, prompts: Sequence[str]) -> Condition:
        self.visits.append(list(prompts))
        numbers = torch.tensor([[float(prompt) + self._offset] for prompt in prompts])
        return Condition({"text": numbers})


Encoded = Callable[..., tuple[EncodedPrompts, PromptOrder]]


@pytest.fixture
def encoded(tmp_path: Path) -> Encoded:
    def make(prompts: list[str], encoder: Encoder, capacity: int) -> object:
        write_index(tmp_path / "index", prompts)
        order = PromptOrder(len(prompts), batch_size=8, seed=0)
        index = PromptIndex(tmp_path / "index")
        return EncodedPrompts(index, order, range(4, 8), encoder, capacity), order

    return make  # type: ignore[return-value]


def numbered(count: int) -> list[str]:
    return [str(i) for i in range(count)]


@pytest.mark.parametrize("capacity", [2, 16, 1000])
def test_conditions_are_those_of_the_prompts(encoded: Encoded, capacity: int) -> None:
    data, order = encoded(numbered(40), Encoder(), capacity)
    for iteration in (0, 1, 2, 3, 7, 8, 30, 5):
        numbers = data.condition(iteration).tensors["text"][:, 0].tolist()
        assert numbers == order.indices(iteration, range(4, 8))


def test_prompts_that_all_fit_are_encoded_in_one_visit(encoded: Encoded) -> None:
    encoder = Encoder()
    data, _ = encoded(numbered(10), encoder, capacity=10)
    for iteration in range(30):
        data.condition(iteration)
    assert encoder.visits == [numbered(10)]


def test_other_prompts_are_encoded_by_the_chunk(encoded: Encoded) -> None:
    encoder = Encoder()
    data, _ = encoded(numbered(1000), encoder, capacity=16)
    visits = []
    for iteration in range(8):
        data.condition(iteration)
        visits.append([len(visit) for visit in encoder.visits])
    # 16 prompts are those of 4 iterations with 4 samples on this rank.
    assert visits == [[16]] * 4 + [[16, 16]] * 4


def test_a_resumed_run_encodes_what_is_left_of_the_chunk(encoded: Encoded) -> None:
    encoder = Encoder()
    data, _ = encoded(numbered(1000), encoder, capacity=16)
    data.condition(6)
    data.condition(8)
    assert [len(visit) for visit in encoder.visits] == [8, 16]


def test_prompts_of_two_chunks_are_encoded_once(encoded: Encoded) -> None:
    encoder = Encoder()
    data, order = encoded(numbered(20), encoder, capacity=16)
    for iteration in range(8):
        numbers = data.condition(iteration).tensors["text"][:, 0].tolist()
        assert numbers == order.indices(iteration, range(4, 8))
    first, second = encoder.visits
    assert not set(first) & set(second)


def test_prompts_that_cannot_be_encoded_are_told_to_all_ranks(encoded: Encoded) -> None:
    """Only so a checkpoint of what is trained is stored before they end."""

    def refused(prompts: Sequence[str]) -> Condition:
        raise TrainerError(FailureReason.ACCESS_DENIED, "no more")

    data, _ = encoded(numbered(40), refused, 16)
    with pytest.raises(SharedError, match="no more") as told:
        data.condition(0)
    assert told.value.reason is FailureReason.ACCESS_DENIED


def test_equal_prompts_are_encoded_once(encoded: Encoded) -> None:
    encoder = Encoder()
    data, _ = encoded(["7"] * 100, encoder, capacity=50)
    assert data.condition(0).tensors["text"].tolist() == [[7.0]] * 4
    assert encoder.visits == [["7"]]
    assert encode_each(["1", "2"], encoder)["2"].tensors["text"].tolist() == [[2.0]]


def test_batches_of_one_kind_come_back_in_order() -> None:
    prompts = ["" if i % 3 == 0 else str(i) for i in range(40)]
    seen: list[list[str]] = []

    def encode(batch: list[str]) -> dict[str, torch.Tensor]:
        seen.append(batch)
        numbers = torch.tensor([[float(prompt or -1)] * 2 for prompt in batch])
        return {"text": numbers.bfloat16(), "length": torch.tensor([len(p) for p in batch])}

    whole = encode_in_batches(prompts, encode, kind=bool)
    assert whole.tensors["text"].tolist() == [[float(prompt or -1)] * 2 for prompt in prompts]
    assert whole.tensors["text"].dtype == torch.bfloat16
    assert whole.tensors["length"].tolist() == [len(prompt) for prompt in prompts]
    assert all(len(batch) <= ENCODER_BATCH and len(set(map(bool, batch))) == 1 for batch in seen)
    assert sorted(prompt for batch in seen for prompt in batch) == sorted(prompts)


def row(value: float = 1.5) -> Condition:
    return Condition(
        {"embeds": torch.full((1, 3, 2), value).bfloat16(), "mask": torch.tensor([[1, 1, 0]])}
    )


def test_an_encoding_is_read_as_it_was_written() -> None:
    data = packed(IDENTITY, "a cat\u2028", row())
    read = unpacked(data, dict(reversed(IDENTITY.items())), "a cat\u2028")
    assert read is not None
    for name, tensor in row().tensors.items():
        assert torch.equal(read.tensors[name], tensor)
        assert read.tensors[name].dtype == tensor.dtype


@pytest.mark.parametrize(
    ("identity", "prompt"),
    [
        (IDENTITY, "a cat "),
        (IDENTITY | {"family": "flux"}, "a cat"),
        (IDENTITY | {"dtype": "torch.float32"}, "a cat"),
        (IDENTITY | {"settings": {"t5_tokens": 77}}, "a cat"),
        (IDENTITY | {"encoders": "other"}, "a cat"),
    ],
)
def test_an_encoding_of_something_else_is_not_used(
    identity: dict[str, object], prompt: str
) -> None:
    assert entry_key(identity, prompt) != entry_key(IDENTITY, "a cat")
    assert unpacked(packed(IDENTITY, "a cat", row()), identity, prompt) is None


def test_damage_is_noticed_wherever_it_is() -> None:
    data = packed(IDENTITY, "a cat", row())
    for at in range(0, len(data), 7):
        changed = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        try:
            read = unpacked(changed, IDENTITY, "a cat")
        except DamagedError:
            continue
        # What is left is a change of what it says it is an encoding of, or of mere padding.
        assert read is None or all(
            torch.equal(read.tensors[name], tensor) for name, tensor in row().tensors.items()
        )
    for length in (0, 7, 8, 100, len(data) - 1):
        with pytest.raises(DamagedError):
            unpacked(data[:length], IDENTITY, "a cat")


def test_a_cache_serves_other_runs(tmp_path: Path) -> None:
    first, second = Encoder(), Encoder()
    storage = open_cache(str(tmp_path / "cache"))
    CachedEncoder(storage, IDENTITY, first)(["1", "2", "1"])
    found = CachedEncoder(storage, IDENTITY, second)(["3", "2", "1", "3"])
    assert found.tensors["text"].tolist() == [[3.0], [2.0], [1.0], [3.0]]
    assert (first.visits, second.visits) == ([["1", "2"]], [["3"]])
    other = Encoder(offset=0.5)
    identity = IDENTITY | {"family": "flux"}
    assert CachedEncoder(storage, identity, other)(["1"]).tensors["text"].item() == 1.5


def test_a_collision_of_names_gives_nobody_the_wrong_encoding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "sid_trainer.data.encoding_cache.entry_key", lambda *_: "00/same.safetensors"
    )
    storage = open_cache(str(tmp_path))
    for prompts in (["1", "2", "3"], ["3", "1"], ["2"]):
        found = CachedEncoder(storage, IDENTITY, Encoder())(prompts)
        assert found.tensors["text"][:, 0].tolist() == [float(prompt) for prompt in prompts]


def test_a_damaged_encoding_is_told_and_made_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    storage = open_cache(str(tmp_path))
    CachedEncoder(storage, IDENTITY, Encoder())(["1"])
    (file,) = tmp_path.rglob("*.safetensors")
    file.write_bytes(file.read_bytes()[:-1] + b"\xff")
    encoder = Encoder()
    for _ in range(2):
        assert CachedEncoder(storage, IDENTITY, encoder)(["1"]).tensors["text"].item() == 1.0
    assert encoder.visits == [["1"]]
    assert f"{file.as_uri()} is damaged: its checksum is wrong" in caplog.text


class AwayCache(FileStorage):
    """A folder of a store that does not answer, and counts how often it is asked."""

    away = True

    def __init__(self, path: Path, reading: bool, reason: FailureReason) -> None:
        super().__init__(path)
        self.asked, self._reads, self._reason = 0, reading, reason

    def get_bytes(self, key: str, max_bytes: int = MAX_ENTRY) -> bytes:
        self._answer(self._reads)
        return super().get_bytes(key, max_bytes)

    def put_bytes(
        self, key: str, data: bytes, content_type: str = "application/octet-stream"
    ) -> None:
        self._answer(True)
        super().put_bytes(key, data, content_type)

    def _answer(self, concerned: bool) -> None:
        if self.away and concerned:
            self.asked += 1
            raise TrainerError(self._reason, "no answer")


@pytest.mark.parametrize("reading", [True, False])
def test_a_run_goes_on_without_a_cache_that_does_not_answer(
    reading: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    storage = AwayCache(tmp_path, reading, FailureReason.STORAGE_UNAVAILABLE)
    encoder = Encoder()
    encode = CachedEncoder(storage, IDENTITY, encoder)
    assert encode(numbered(100)).tensors["text"][:, 0].tolist() == [*map(float, range(100))]
    assert encoder.visits == [numbered(100)]
    assert storage.asked <= THREADS, "not each prompt waits for the store"
    assert caplog.text.count("no answer") == 1
    storage.away = False  # the next visit finds it again
    encode(["1"])
    assert [*tmp_path.rglob("*.safetensors")]


def test_a_cache_that_refuses_is_told(tmp_path: Path) -> None:
    storage = AwayCache(tmp_path, True, FailureReason.ACCESS_DENIED)
    with pytest.raises(TrainerError, match="no answer"):
        CachedEncoder(storage, IDENTITY, Encoder())(["1"])


def test_writers_of_the_same_encodings_do_not_disturb_one_another(tmp_path: Path) -> None:
    def work(_: int) -> list[list[float]]:
        encode = CachedEncoder(open_cache(str(tmp_path)), IDENTITY, Encoder())
        return encode(numbered(20)).tensors["text"].tolist()

    with ThreadPoolExecutor(4) as pool:
        assert all(found == [[float(i)] for i in range(20)] for found in pool.map(work, range(8)))
    assert len(list(tmp_path.rglob("*.safetensors"))) == 20
    assert not list(tmp_path.rglob(".part-*"))


def test_a_new_form_reuses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = open_cache(str(tmp_path))
    CachedEncoder(storage, IDENTITY, Encoder())(["1"])
    monkeypatch.setattr(encoding_entry, "FORMAT", encoding_entry.FORMAT + 1)
    encoder = Encoder()
    CachedEncoder(storage, IDENTITY, encoder)(["1"])
    assert encoder.given == ["1"]


def test_a_cache_that_cannot_be_written_is_refused_beforehand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_cache(str(tmp_path / "new" / "folder"))
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)  # root may write anyway
    with pytest.raises(TrainerError, match=f"{tmp_path} belongs to others or .* read-only") as no:
        check_cache(str(tmp_path / "new" / "folder"))
    assert no.value.reason is FailureReason.ACCESS_DENIED


def test_conditions_are_cut_joined_and_repeated() -> None:
    condition = Condition({"a": torch.arange(6.0).reshape(3, 2), "mask": torch.tensor([1, 0, 1])})
    assert len(condition) == 3
    joined = Condition.cat([condition[2:], condition[torch.tensor([0, 1])]])
    assert joined.tensors["a"].tolist() == [[4, 5], [0, 1], [2, 3]]
    assert joined.tensors["mask"].tolist() == [1, 1, 0]
    repeated = condition[:1].expand(4)
    assert repeated.tensors["a"].shape == (4, 2)
    half = condition.to(torch.device("cpu"), torch.bfloat16)
    assert half.tensors["a"].dtype == torch.bfloat16
    assert half.tensors["mask"].dtype == torch.int64
