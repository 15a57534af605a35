"""How well images fit their captions: cosines in CLIP and in models of human preference.

Both kinds are a ``transformers.CLIPModel`` with its tokenizer and image processor; PickScore and
HPSv2 are CLIP models trained on people's choices. Weights are safetensors.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from pathlib import Path

import torch
from torch import Tensor

from sid_trainer.contract import FailureReason, TrainerError
from sid_trainer.storage.base import not_found
from sid_trainer.teachers.loading_errors import refuse_gaps
from sid_trainer.teachers.text_parts import has_vocabulary
from sid_trainer.transfer import on_accelerator

BATCH = 32
"""Images that the model takes at a time."""
_WHOLE = "give the whole model, as save_pretrained writes it"


class ClipModel:
    """A CLIP model that rests in host memory.

    Args:
        directory: of the model, its tokenizer and its image processor.
        device: where it computes.
        scaled: multiply cosines by the model's own scale (100 for all that is known), as PickScore
            does; plain cosines otherwise.

    Raises:
        TrainerError: ``InvalidData`` when the directory holds another model or lacks a part.
    """

    def __init__(self, directory: Path, device: torch.device, *, scaled: bool) -> None:
        from transformers import (  # noqa: PLC0415 - slow to load, and only who asks needs it
            AutoTokenizer,
            CLIPImageProcessorPil,
            CLIPModel,
        )

        _refuse_other_models(directory)
        try:
            model, told = CLIPModel.from_pretrained(
                directory,
                local_files_only=True,
                dtype=torch.float32,
                use_safetensors=True,
                output_loading_info=True,
            )
            self._tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True)
            self._processor = CLIPImageProcessorPil.from_pretrained(
                directory, local_files_only=True
            )
        except (OSError, ValueError) as error:
            raise TrainerError(
                FailureReason.INVALID_DATA,
                f"the CLIP model cannot be loaded: {error}; it needs config.json, safetensors, "
                "tokenizer and preprocessor_config.json",
            ) from error
        _refuse_gaps(directory, told["missing_keys"])
        self._model, self._device = model.eval(), device
        self._scale = float(self._model.logit_scale.detach().exp()) if scaled else 1.0
        self._tokens = self._model.config.text_config.max_position_embeddings

    @torch.no_grad()
    def scores(self, images: Tensor, captions: Sequence[str]) -> Tensor:
        """Scores ``[B]``, fp32 in host memory.

        Args:
            images: ``[B, 3, H, W]`` in uint8.
            captions: one each; cut at the model's length, as CLIP does.
        """
        batches = range(0, len(images), BATCH)
        with on_accelerator([self._model], self._device):
            return torch.cat(
                [self._scores(images[at : at + BATCH], captions[at : at + BATCH]) for at in batches]
            )

    def _scores(self, images: Tensor, captions: Sequence[str]) -> Tensor:
        pixels = self._processor(images=list(images), return_tensors="pt")
        tokens = self._tokenizer(
            list(captions),
            padding=True,
            truncation=True,
            max_length=self._tokens,
            return_tensors="pt",
        )
        image = self._model.get_image_features(**pixels.to(self._device)).pooler_output
        text = self._model.get_text_features(**tokens.to(self._device)).pooler_output
        return torch.cosine_similarity(image, text).cpu() * self._scale


def _refuse_gaps(directory: Path, missing: Collection[str]) -> None:
    """In the place of what is absent the library has noise, or a vocabulary of its own."""
    refuse_gaps("the CLIP model", missing, _WHOLE)
    if not has_vocabulary(directory):
        what = "the CLIP model's vocabulary (tokenizer.json, or vocab.json and merges.txt)"
        raise not_found(what, _WHOLE)


def _refuse_other_models(directory: Path) -> None:
    kind = json.loads((directory / "config.json").read_text(encoding="utf-8")).get("model_type")
    if kind != "clip":
        raise TrainerError(
            FailureReason.INVALID_DATA,
            f"the model is a {kind}, not a CLIP model: give a transformers CLIPModel, for instance "
            "laion/CLIP-ViT-g-14-laion2B-s12B-b42K",
        )
