"""One cached encoding as bytes: a safetensors file that says what it is an encoding of.

Rules this module keeps:

* Name and content are apart: a file's name is a hash of what it is an encoding of, and its header
  repeats that in full. Only what the header says decides, so no collision of names can give one
  prompt the encoding of another.
* A checksum over names, types, shapes and numbers is verified when an encoding is read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from sid_trainer.method.conditions import Condition

FORMAT = 1

Identity = Mapping[str, Any]
"""What an encoding depends on besides the prompt: JSON."""


class DamagedEntryError(ValueError):
    """A cached encoding that is not as it was written."""


def entry_key(identity: Identity, prompt: str) -> str:
    """Name of an encoding in the cache."""
    digest = hashlib.sha256(json.dumps([_text(identity), prompt]).encode()).hexdigest()
    return f"{digest[:2]}/{digest}.safetensors"


def packed(identity: Identity, prompt: str, row: Condition) -> bytes:
    """An encoding of one prompt, a condition of batch 1, as a file."""
    tensors = {name: tensor.contiguous() for name, tensor in row.tensors.items()}
    checksum = _checksum(tensors)
    about = {"identity": _text(identity), "prompt": prompt, "checksum": checksum}
    data: bytes = save(tensors, metadata=about)
    return data


def unpacked(data: bytes, identity: Identity, prompt: str) -> Condition | None:
    """The encoding in a file, or None when it is one of something else.

    Raises:
        DamagedEntryError: when it is not as it was written.
    """
    try:
        length = int.from_bytes(data[:8], "little")
        about = json.loads(data[8 : 8 + length])["__metadata__"]
        if (about["identity"], about["prompt"]) != (_text(identity), prompt):
            return None
        tensors = load(data)
        intact = _checksum(tensors) == about["checksum"]
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise DamagedEntryError(f"it cannot be read ({type(error).__name__})") from error
    if not intact:
        raise DamagedEntryError("its checksum is wrong")
    return Condition(tensors)


def _text(identity: Identity) -> str:
    return json.dumps({"format": FORMAT, **identity}, sort_keys=True)


def _checksum(tensors: Mapping[str, torch.Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()
