"""Text encoders and autoencoder: their sizes, and what their visits to the accelerator take.

They are on the accelerator only while networks do not compute, so a visit and an update are never
there together. Sizes are those of the stock classes, built on ``meta``.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn

from sid_trainer.estimate.kernels import training_kernels
from sid_trainer.estimate.live import LiveBytes
from sid_trainer.estimate.skeleton import Skeleton
from sid_trainer.memory.need import Visit
from sid_trainer.teachers.encoding import ENCODER_BATCH
from sid_trainer.teachers.text_parts import TEXT_ENCODERS

_META = torch.device("meta")


def encoding_visit(skeleton: Skeleton, tokens: int, dtype: torch.dtype) -> Visit:
    """The text encoders, encoding a batch of prompts of ``tokens`` tokens at most."""
    weights, work = 0, 0
    for name, encoder in _text_encoders(skeleton, dtype):
        weights += _bytes(encoder)
        work = max(work, _encoder_work(encoder, skeleton.components[name], tokens))
    return Visit(weights, work)


def decoding_visit(skeleton: Skeleton, latent: tuple[int, int, int], dtype: torch.dtype) -> Visit:
    """The autoencoder, decoding one image."""
    class_name = skeleton.class_of("vae")
    if class_name is None:
        return Visit(0, 0)
    diffusers = importlib.import_module("diffusers")
    with _META:
        vae = getattr(diffusers, class_name[1]).from_config(skeleton.components["vae"])
    nn.Module.to(vae, dtype)
    live = LiveBytes().ignore((*vae.parameters(), *vae.buffers()))
    with torch.no_grad(), training_kernels(), live:
        vae.decode(torch.empty(1, *latent, dtype=dtype, device=_META), return_dict=False)
    return Visit(_bytes(vae), live.peak)


def _text_encoders(skeleton: Skeleton, dtype: torch.dtype) -> Iterator[tuple[str, nn.Module]]:
    transformers = importlib.import_module("transformers")
    for name in TEXT_ENCODERS:
        class_name = skeleton.class_of(name)
        if class_name is not None:
            encoder_class = getattr(transformers, class_name[1])
            config = encoder_class.config_class(**skeleton.components[name])
            with _META:
                encoder = encoder_class(config)
            yield name, encoder.to(dtype)


def _encoder_work(encoder: nn.Module, config: Mapping[str, Any], tokens: int) -> int:
    """Temporary bytes of a batch: of one layer, as no layer waits for another.

    Attention scores in fp32 and in the compute type, and the widest hidden layer twice.
    """
    heads = int(config.get("num_heads") or config["num_attention_heads"])
    width = int(config.get("d_model") or config["hidden_size"])
    inner = int(config.get("d_ff") or config["intermediate_size"])
    length = min(tokens, int(config.get("max_position_embeddings", tokens)))
    element = next(encoder.parameters()).element_size()
    scores = heads * length * length * (4 + element)
    hidden = length * (4 * width + 3 * inner) * element
    return ENCODER_BATCH * (scores + hidden)


def _bytes(module: nn.Module) -> int:
    return sum(t.nbytes for t in (*module.parameters(), *module.buffers()))
