"""Vision and speech models of transformers, at small configurations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import transformers
from torch import nn

from tests.zoo.entry import Entry, Inputs, pixels, words

SMALL: dict[str, Any] = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 128,
}


def vision(name: str, kind: str = "Model", size: int = 64, **config: Any) -> Callable[[], tuple[nn.Module, Inputs]]:
    """A model of images."""

    def make() -> tuple[nn.Module, Inputs]:
        made = getattr(transformers, f"{name}Config")(**config)
        return getattr(transformers, f"{name}{kind}")(made), {"pixel_values": pixels(size)}

    return make


def _both(name: str) -> Callable[[], tuple[nn.Module, Inputs]]:
    def make() -> tuple[nn.Module, Inputs]:
        text = {**SMALL, "vocab_size": 200, "max_position_embeddings": 32, "bos_token_id": 1, "eos_token_id": 2}
        config = getattr(transformers, f"{name}Config")(
            text_config=text, vision_config={**SMALL, "image_size": 64, "patch_size": 16}
        )
        given = {"input_ids": words(2, 16), "pixel_values": pixels(64)}
        return getattr(transformers, f"{name}Model")(config), given

    return make


def _whisper() -> tuple[nn.Module, Inputs]:
    config = transformers.WhisperConfig(
        vocab_size=200,
        d_model=64,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=128,
        decoder_ffn_dim=128,
        num_mel_bins=16,
        max_source_positions=50,
        max_target_positions=32,
        use_cache=False,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
    )
    given = {"input_features": torch.randn(1, 16, 100), "decoder_input_ids": words(1, 6)}
    return transformers.WhisperModel(config), given


def _speech(name: str) -> Callable[[], tuple[nn.Module, Inputs]]:
    def make() -> tuple[nn.Module, Inputs]:
        config = getattr(transformers, f"{name}Config")(
            **SMALL, conv_dim=(32, 32, 32), conv_stride=(5, 2, 2), conv_kernel=(10, 3, 3), num_feat_extract_layers=3
        )
        return getattr(transformers, f"{name}Model")(config), {"input_values": torch.randn(1, 1600)}

    return make


def _sam() -> tuple[nn.Module, Inputs]:
    config = transformers.SamConfig(
        vision_config={
            **SMALL,
            "image_size": 64,
            "patch_size": 8,
            "output_channels": 32,
            "mlp_dim": 128,
            "window_size": 4,
            "global_attn_indexes": [1],
            "num_pos_feats": 16,
        },
        prompt_encoder_config={"hidden_size": 32, "image_size": 64, "patch_size": 8, "mask_input_channels": 4},
        mask_decoder_config={"hidden_size": 32, "mlp_dim": 64, "num_attention_heads": 2, "iou_head_hidden_dim": 32},
    )
    given = {"pixel_values": pixels(64), "input_points": torch.rand(1, 1, 2, 2) * 64}
    return transformers.SamModel(config), given


def _detr() -> tuple[nn.Module, Inputs]:
    backbone = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[16, 32], depths=[1, 1], layer_type="basic", out_features=["stage2"]
    )
    config = transformers.DetrConfig(
        use_timm_backbone=False,
        use_pretrained_backbone=False,
        backbone=None,
        backbone_config=backbone,
        d_model=64,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=128,
        decoder_ffn_dim=128,
        num_queries=12,
    )
    given = {"pixel_values": pixels(64), "pixel_mask": torch.ones(1, 64, 64, dtype=torch.long)}
    return transformers.DetrForObjectDetection(config), given


def _depth() -> tuple[nn.Module, Inputs]:
    backbone = transformers.Dinov2Config(
        hidden_size=32,
        num_hidden_layers=4,
        num_attention_heads=2,
        image_size=56,
        patch_size=14,
        reshape_hidden_states=False,
        apply_layernorm=True,
        out_indices=[1, 2, 3, 4],
    )
    config = transformers.DepthAnythingConfig(
        backbone_config=backbone,
        reassemble_hidden_size=32,
        neck_hidden_sizes=[8, 16, 24, 32],
        fusion_hidden_size=16,
        head_hidden_size=8,
    )
    return transformers.DepthAnythingForDepthEstimation(config), {"pixel_values": pixels(56)}


PATCHES: dict[str, Any] = {**SMALL, "image_size": 64, "patch_size": 16}
SWIN: dict[str, Any] = {"image_size": 64, "embed_dim": 16, "depths": [2, 2], "num_heads": [2, 4], "window_size": 4}
MOBILEVIT: dict[str, Any] = {
    "hidden_sizes": [24, 32, 40],
    "neck_hidden_sizes": [8, 16, 24, 32, 40, 64, 64],
    "initializer_range": 0.2,
}
SEGFORMER: dict[str, Any] = {
    "hidden_sizes": [8, 16, 24, 32],
    "depths": [1, 1, 1, 1],
    "num_attention_heads": [1, 2, 2, 4],
    "decoder_hidden_size": 16,
}

ENTRIES = (
    Entry("ViT", vision("ViT", **PATCHES), light=True),
    Entry("DeiT", vision("DeiT", **PATCHES)),
    Entry("BEiT", vision("Beit", **PATCHES, use_relative_position_bias=True)),
    Entry("DINOv2", vision("Dinov2", **{**SMALL, "image_size": 56, "patch_size": 14}, size=56)),
    Entry("Swin", vision("Swin", **SWIN), light=True),
    Entry("Swin-v2", vision("Swinv2", **SWIN)),
    Entry("SegFormer", vision("Segformer", "ForSemanticSegmentation", **SEGFORMER)),
    Entry("PoolFormer", vision("PoolFormer", hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 1, 1])),
    Entry("MobileViT", vision("MobileViT", **MOBILEVIT)),
    Entry("CLIP", _both("CLIP")),
    Entry("SigLIP", _both("Siglip")),
    Entry("SAM", _sam),
    Entry("DETR", _detr),
    Entry("Depth Anything", _depth),
    Entry("Whisper", _whisper, light=True),
    Entry("Wav2Vec2", _speech("Wav2Vec2")),
    Entry("HuBERT", _speech("Hubert")),
)
