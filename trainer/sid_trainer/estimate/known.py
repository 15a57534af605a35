"""The released teachers' architectures, so that an estimate needs no network.

Sizes only: what decides how many parameters there are and how large activations become. Sources:
the conversion scripts of diffusers (``scripts/convert_sd3_to_diffusers.py``,
``convert_sana_to_diffusers.py``, ``convert_flux_to_diffusers.py``) and the released ``config.json``
files. Tests hold them to the parameter counts of the released checkpoints.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sid_trainer.estimate.skeleton import Skeleton

_CLIP_TOKENS, _T5_TOKENS = 77, 512

_CLIP_L = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "projection_dim": 768,
}
_CLIP_G = {
    "hidden_size": 1280,
    "intermediate_size": 5120,
    "num_hidden_layers": 32,
    "num_attention_heads": 20,
    "projection_dim": 1280,
    "hidden_act": "gelu",
}
_T5_XXL = {
    "d_model": 4096,
    "d_kv": 64,
    "d_ff": 10240,
    "num_layers": 24,
    "num_heads": 64,
    "feed_forward_proj": "gated-gelu",
    "vocab_size": 32128,
}
_GEMMA_2_2B = {
    "hidden_size": 2304,
    "intermediate_size": 9216,
    "num_hidden_layers": 26,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 256,
    "vocab_size": 256000,
}
_KL = {
    "latent_channels": 16,
    "block_out_channels": [128, 256, 512, 512],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "layers_per_block": 2,
    "use_quant_conv": False,
    "use_post_quant_conv": False,
}
_DC_AE = {
    "latent_channels": 32,
    "attention_head_dim": 32,
    "encoder_block_types": ["ResBlock"] * 3 + ["EfficientViTBlock"] * 3,
    "decoder_block_types": ["ResBlock"] * 3 + ["EfficientViTBlock"] * 3,
    "encoder_block_out_channels": [128, 256, 512, 512, 1024, 1024],
    "decoder_block_out_channels": [128, 256, 512, 512, 1024, 1024],
    "encoder_layers_per_block": [2, 2, 2, 3, 3, 3],
    "decoder_layers_per_block": [3, 3, 3, 3, 3, 3],
    "encoder_qkv_multiscales": [[], [], [], [5], [5], [5]],
    "decoder_qkv_multiscales": [[], [], [], [5], [5], [5]],
    "downsample_block_type": "Conv",
    "upsample_block_type": "interpolate",
    "decoder_norm_types": "rms_norm",
    "decoder_act_fns": "silu",
    "scaling_factor": 0.41407,
}
_SD3 = {
    "sample_size": 128,
    "patch_size": 2,
    "in_channels": 16,
    "out_channels": 16,
    "attention_head_dim": 64,
    "joint_attention_dim": 4096,
    "pooled_projection_dim": 2048,
}
_SANA = {
    "in_channels": 32,
    "out_channels": 32,
    "patch_size": 1,
    "attention_head_dim": 32,
    "caption_channels": 2304,
    "mlp_ratio": 2.5,
}
_SANA_06B = {
    "num_layers": 28,
    "num_attention_heads": 36,
    "num_cross_attention_heads": 16,
    "cross_attention_head_dim": 72,
    "cross_attention_dim": 1152,
}
_SANA_16B = {
    "num_layers": 20,
    "num_attention_heads": 70,
    "num_cross_attention_heads": 20,
    "cross_attention_head_dim": 112,
    "cross_attention_dim": 2240,
}
_SPRINT = {"qk_norm": "rms_norm_across_heads"}
_SPRINT_TEACHER = {**_SPRINT, "timestep_scale": 0.001}
_SPRINT_STUDENT = {**_SPRINT, "guidance_embeds": True, "guidance_embeds_scale": 0.1}


def _sd3(**transformer: Any) -> Skeleton:
    return Skeleton(
        index={
            "_class_name": "StableDiffusion3Pipeline",
            "text_encoder": ["transformers", "CLIPTextModelWithProjection"],
            "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
            "text_encoder_3": ["transformers", "T5EncoderModel"],
            "transformer": ["diffusers", "SD3Transformer2DModel"],
            "vae": ["diffusers", "AutoencoderKL"],
        },
        components={
            "text_encoder": _CLIP_L,
            "text_encoder_2": _CLIP_G,
            "text_encoder_3": _T5_XXL,
            "transformer": {**_SD3, **transformer},
            "vae": _KL,
        },
        token_limits={"tokenizer": _CLIP_TOKENS, "tokenizer_3": _T5_TOKENS},
    )


def _sana(size: Mapping[str, Any], resolution: int, **transformer: Any) -> Skeleton:
    sprint = "guidance_embeds" in transformer
    return Skeleton(
        index={
            "_class_name": "SanaSprintPipeline" if sprint else "SanaPipeline",
            "text_encoder": ["transformers", "Gemma2Model"],
            "transformer": ["diffusers", "SanaTransformer2DModel"],
            "vae": ["diffusers", "AutoencoderDC"],
        },
        components={
            "text_encoder": _GEMMA_2_2B,
            "transformer": {**_SANA, **size, "sample_size": resolution // 32, **transformer},
            "vae": _DC_AE,
        },
        token_limits={},
    )


_FLUX = Skeleton(
    index={
        "_class_name": "FluxPipeline",
        "text_encoder": ["transformers", "CLIPTextModel"],
        "text_encoder_2": ["transformers", "T5EncoderModel"],
        "transformer": ["diffusers", "FluxTransformer2DModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    },
    components={
        "text_encoder": _CLIP_L,
        "text_encoder_2": _T5_XXL,
        "transformer": {
            "patch_size": 1,
            "in_channels": 64,
            "num_layers": 19,
            "num_single_layers": 38,
            "attention_head_dim": 128,
            "num_attention_heads": 24,
            "joint_attention_dim": 4096,
            "pooled_projection_dim": 768,
            "guidance_embeds": True,
            "axes_dims_rope": [16, 56, 56],
        },
        "vae": _KL,
    },
    token_limits={"tokenizer": _CLIP_TOKENS, "tokenizer_2": _T5_TOKENS},
)

_SD3_MEDIUM = _sd3(
    num_layers=24, num_attention_heads=24, caption_projection_dim=1536, pos_embed_max_size=192
)
_SD35_MEDIUM = _sd3(
    num_layers=24,
    num_attention_heads=24,
    caption_projection_dim=1536,
    pos_embed_max_size=384,
    qk_norm="rms_norm",
    dual_attention_layers=list(range(13)),
)
_SD35_LARGE = _sd3(
    num_layers=38,
    num_attention_heads=38,
    caption_projection_dim=2432,
    pos_embed_max_size=192,
    qk_norm="rms_norm",
)

KNOWN: Mapping[str, Skeleton] = {
    "Efficient-Large-Model/Sana_600M_512px_diffusers": _sana(_SANA_06B, 512),
    "Efficient-Large-Model/Sana_600M_1024px_diffusers": _sana(_SANA_06B, 1024),
    "Efficient-Large-Model/Sana_1600M_512px_diffusers": _sana(_SANA_16B, 512),
    "Efficient-Large-Model/Sana_1600M_1024px_diffusers": _sana(_SANA_16B, 1024),
    "Efficient-Large-Model/Sana_1600M_1024px_BF16_diffusers": _sana(_SANA_16B, 1024),
    "Efficient-Large-Model/SANA1.5_1.6B_1024px_diffusers": _sana(_SANA_16B, 1024, **_SPRINT),
    "Efficient-Large-Model/Sana_Sprint_0.6B_1024px_teacher_diffusers": _sana(
        _SANA_06B, 1024, **_SPRINT_TEACHER
    ),
    "Efficient-Large-Model/SANA_Sprint_1.6B_1024px_teacher_diffusers": _sana(
        _SANA_16B, 1024, **_SPRINT_TEACHER
    ),
    "Efficient-Large-Model/Sana_Sprint_0.6B_1024px_diffusers": _sana(
        _SANA_06B, 1024, **_SPRINT_STUDENT
    ),
    "Efficient-Large-Model/Sana_Sprint_1.6B_1024px_diffusers": _sana(
        _SANA_16B, 1024, **_SPRINT_STUDENT
    ),
    "stabilityai/stable-diffusion-3-medium-diffusers": _SD3_MEDIUM,
    "stabilityai/stable-diffusion-3.5-medium": _SD35_MEDIUM,
    "stabilityai/stable-diffusion-3.5-large": _SD35_LARGE,
    "black-forest-labs/FLUX.1-dev": _FLUX,
}
"""Pipelines by their id on the Hugging Face Hub."""
