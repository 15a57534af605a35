"""Images to latents and back, against the stock image-to-image pipelines."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    AutoencoderDC,
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    FluxImg2ImgPipeline,
    SanaSprintImg2ImgPipeline,
    SCMScheduler,
    StableDiffusion3Img2ImgPipeline,
)
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

from sid_trainer.contract import FailureReason, TrainerError
from sid_trainer.teachers.autoencoders import (
    Autoencoder,
    DeepCompressionAutoencoder,
    ShiftedAutoencoder,
)

CPU = torch.device("cpu")
SEED = 5


@pytest.fixture(scope="module")
def vae_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline directory with an ``AutoencoderKL``: 16 px images, 4-channel 8x8 latents."""
    folder = tmp_path_factory.mktemp("vae")
    torch.manual_seed(3)
    AutoencoderKL(
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4,
        norm_num_groups=4,
        scaling_factor=1.5,
        shift_factor=0.1,
    ).save_pretrained(folder / "vae")
    return folder


@pytest.fixture(scope="module")
def dc_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline directory with an ``AutoencoderDC``: 64 px images, 4-channel 2x2 latents."""
    folder = tmp_path_factory.mktemp("dc")
    torch.manual_seed(4)
    AutoencoderDC(
        latent_channels=4,
        attention_head_dim=4,
        encoder_block_out_channels=(8,) * 6,
        decoder_block_out_channels=(8,) * 6,
        encoder_layers_per_block=(1,) * 6,
        decoder_layers_per_block=(1,) * 6,
        encoder_qkv_multiscales=((),) * 6,
        decoder_qkv_multiscales=((),) * 6,
        scaling_factor=0.41,
    ).save_pretrained(folder / "vae")
    return folder


def pictures(side: int, count: int = 3) -> list[Image.Image]:
    values = np.random.default_rng(1).integers(0, 256, (count, side, side, 3), dtype=np.uint8)
    return [Image.fromarray(picture) for picture in values]


def pixels(images: list[Image.Image]) -> Tensor:
    """``[B, 3, H, W]`` in [0, 1]."""
    return torch.stack([torch.tensor(np.array(i)).permute(2, 0, 1) / 255 for i in images])


def noise(count: int) -> Tensor:
    """What the stock pipelines draw from a generator of :data:`SEED` for the posterior."""
    return torch.randn(count, 4, 8, 8, generator=torch.Generator().manual_seed(SEED))


def clean_scheduler() -> FlowMatchEulerDiscreteScheduler:
    """One whose timestep 0 means no noise."""
    scheduler = FlowMatchEulerDiscreteScheduler(shift=1.0)
    scheduler.set_timesteps(sigmas=[1.0, 0.0])
    return scheduler


def sd3_latents(folder: Path, images: list[Image.Image]) -> Tensor:
    pipeline = StableDiffusion3Img2ImgPipeline(
        vae=AutoencoderKL.from_pretrained(folder, subfolder="vae"),
        scheduler=clean_scheduler(),
        **dict.fromkeys(
            (
                "transformer",
                *("text_encoder", "text_encoder_2", "text_encoder_3"),
                *("tokenizer", "tokenizer_2", "tokenizer_3"),
            )
        ),
    )
    return pipeline.prepare_latents(
        pipeline.image_processor.preprocess(images),
        torch.zeros(1),
        len(images),
        1,
        torch.float32,
        CPU,
        torch.Generator().manual_seed(SEED),
    )


def flux_latents(folder: Path, images: list[Image.Image]) -> Tensor:
    empty = ("transformer", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2")
    pipeline = FluxImg2ImgPipeline(
        vae=AutoencoderKL.from_pretrained(folder, subfolder="vae"),
        scheduler=clean_scheduler(),
        **dict.fromkeys(empty),
    )
    packed, _ = pipeline.prepare_latents(
        pipeline.image_processor.preprocess(images),
        torch.zeros(1),
        len(images),
        4,
        16,
        16,
        torch.float32,
        CPU,
        torch.Generator().manual_seed(SEED),
    )
    return pipeline._unpack_latents(packed, 16, 16, pipeline.vae_scale_factor)


@pytest.mark.parametrize("stock", [sd3_latents, flux_latents])
def test_latents_are_those_of_the_stock_pipeline(
    stock: Callable[[Path, list[Image.Image]], Tensor], vae_folder: Path
) -> None:
    images = pictures(16)
    latents = ShiftedAutoencoder(vae_folder, CPU, torch.float32).encode(pixels(images), noise(3))
    torch.testing.assert_close(latents, stock(vae_folder, images), rtol=0, atol=2e-6)


def test_dc_latents_are_those_of_the_stock_pipeline(dc_folder: Path) -> None:
    images = pictures(64)
    pipeline = SanaSprintImg2ImgPipeline(
        tokenizer=None,
        text_encoder=None,
        transformer=None,
        vae=AutoencoderDC.from_pretrained(dc_folder, subfolder="vae"),
        scheduler=SCMScheduler(sigma_data=1.0),
    )
    stock = pipeline.prepare_latents(
        pipeline.image_processor.preprocess(images),
        torch.zeros(1),  # the angle without noise
        *(3, 4, 64, 64, torch.float32, CPU, torch.Generator().manual_seed(SEED)),
    )
    ours = DeepCompressionAutoencoder(dc_folder, CPU, torch.float32)
    latents = ours.encode(pixels(images), torch.randn(stock.shape))
    torch.testing.assert_close(latents, stock, rtol=0, atol=2e-6)


def test_without_noise_the_posteriors_mean_is_taken(vae_folder: Path) -> None:
    images = pixels(pictures(16, 2))
    vae: Any = AutoencoderKL.from_pretrained(vae_folder, subfolder="vae")
    with torch.no_grad():
        mode = vae.encode(images * 2 - 1).latent_dist.mode()
    latents = ShiftedAutoencoder(vae_folder, CPU, torch.float32).encode(images)
    torch.testing.assert_close(latents, (mode - 0.1) * 1.5, rtol=0, atol=2e-6)


@pytest.mark.parametrize("kind", [ShiftedAutoencoder, DeepCompressionAutoencoder])
def test_decoding_takes_scale_and_shift_back(
    kind: type[Autoencoder], vae_folder: Path, dc_folder: Path
) -> None:
    folder, shift, scale = vae_folder, 0.1, 1.5
    if kind is DeepCompressionAutoencoder:
        folder, shift, scale = dc_folder, 0.0, 0.41
    ours = kind(folder, CPU, torch.float32)
    own = torch.randn(2, 4, 2, 2, generator=torch.Generator().manual_seed(SEED))
    vae: Any = kind._class.from_pretrained(folder, subfolder="vae")
    with torch.no_grad():
        stock = (vae.decode(own).sample / 2 + 0.5).clamp(0, 1)
    torch.testing.assert_close(ours.decode((own - shift) * scale), stock, rtol=0, atol=2e-6)


def test_latents_are_fp32_whatever_it_computes_in(vae_folder: Path) -> None:
    images = pixels(pictures(16))
    exact = ShiftedAutoencoder(vae_folder, CPU, torch.float32).encode(images, noise(3))
    rough = ShiftedAutoencoder(vae_folder, CPU, torch.bfloat16).encode(images, noise(3))
    assert rough.dtype == torch.float32
    assert 0 < (rough - exact).abs().max() < 0.1


def test_an_autoencoder_that_lacks_weights_is_told(tmp_path: Path, vae_folder: Path) -> None:
    """The library would leave them empty, and only warn."""
    file = shutil.copytree(vae_folder, tmp_path / "p") / "vae/diffusion_pytorch_model.safetensors"
    weights = load_file(file)
    del weights["decoder.conv_out.bias"]
    save_file(weights, file, {"format": "pt"})
    with pytest.raises(TrainerError, match="vae lacks 1 of its weights, such as decoder") as told:
        ShiftedAutoencoder(tmp_path / "p", CPU, torch.float32).encode(torch.zeros(1, 3, 16, 16))
    assert told.value.reason is FailureReason.INVALID_DATA


def test_a_pipeline_without_autoencoder_is_told(tmp_path: Path, vae_folder: Path) -> None:
    missing = ShiftedAutoencoder(tmp_path, CPU, torch.float32)
    with pytest.raises(TrainerError, match=r"no vae/config\.json: .* save_pretrained") as caught:
        _ = missing.factor
    assert caught.value.reason is FailureReason.NOT_FOUND
    (tmp_path / "vae").mkdir()
    (tmp_path / "vae" / "config.json").write_bytes((vae_folder / "vae/config.json").read_bytes())
    assert missing.factor == 2
    with pytest.raises(TrainerError, match=r"vae/diffusion_pytorch_model\.safetensors") as caught:
        missing.encode(torch.zeros(1, 3, 16, 16))
    assert caught.value.reason is FailureReason.NOT_FOUND
