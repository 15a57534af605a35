"""Small judges of the real classes: a TorchScript extractor, a CLIP model, reference images."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel

from sid_trainer.digits import text

WIDTH = 6


class ToyExtractor(nn.Module):
    """Features ``[B, WIDTH]`` of images ``[B, 3, H, W]`` in 0..255, called as StyleGAN's is."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, WIDTH, 3, stride=2)

    def forward(self, images: Tensor, return_features: bool = False) -> Tensor:
        features = torch.tanh(self.convolution(images / 127.5 - 1)).mean((2, 3))
        return features if return_features else features.softmax(1)


def write_extractor(path: Path) -> Path:
    torch.manual_seed(21)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # TorchScript is to be replaced one day
        torch.jit.save(torch.jit.script(ToyExtractor()), path)
    return path


def write_clip(folder: Path) -> Path:
    torch.manual_seed(22)
    tokenizer = text.clip_tokenizer()
    tower = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    ids = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id")}
    config = CLIPConfig(
        text_config={
            **tower,
            **ids,
            "pad_token_id": tokenizer.pad_token_id,
            "vocab_size": len(tokenizer),
            "max_position_embeddings": tokenizer.model_max_length,
        },
        vision_config={**tower, "image_size": 16, "patch_size": 8},
        projection_dim=8,
    )
    CLIPModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    size = {"height": 16, "width": 16}
    CLIPImageProcessorPil(size={"shortest_edge": 16}, crop_size=size).save_pretrained(folder)
    return folder


def write_images(folder: Path, count: int = 9) -> Path:
    """Noise pictures, most of them not square."""
    generator = np.random.default_rng(23)
    (folder / "deeper").mkdir(parents=True)
    for number in range(count):
        pixels = generator.integers(0, 256, (20 + number, 24, 3), dtype=np.uint8)
        name = f"deeper/{number}.png" if number % 2 else f"{number}.PNG"
        Image.fromarray(pixels).save(folder / name)
    (folder / "notes.txt").write_text("no image")
    return folder


def write_judges(folder: Path) -> dict[str, str]:
    """All of them; their addresses by what they are."""
    folder.mkdir(exist_ok=True)
    return {
        "features": str(write_extractor(folder / "extractor.pt")),
        "clip": str(write_clip(folder / "clip")),
        "images": str(write_images(folder / "images")),
    }
