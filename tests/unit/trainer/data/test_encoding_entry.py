"""One encoding as a file: what it is of, and whether it is whole."""

from __future__ import annotations

import pytest
import torch

from sid_trainer.data.encoding_entry import DamagedEntryError, entry_key, packed, unpacked
from sid_trainer.method.conditions import Condition
from tests.unit.trainer.data.encoders import IDENTITY


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
        except DamagedEntryError:
            continue
        # What is left is a change of what it says it is an encoding of, or of mere padding.
        assert read is None or all(
            torch.equal(read.tensors[name], tensor) for name, tensor in row().tensors.items()
        )
    for length in (0, 7, 8, 100, len(data) - 1):
        with pytest.raises(DamagedEntryError):
            unpacked(data[:length], IDENTITY, "a cat")
