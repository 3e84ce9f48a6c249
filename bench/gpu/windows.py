"""Swin-B (Liu et al., 2021) by transformers: attention within windows, its weights drawn."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import SwinConfig, SwinForImageClassification


def swin(batch: int) -> tuple[Any, tuple[Tensor, ...]]:
    """The model with seeded weights, and images for it."""
    torch.manual_seed(0)
    config = SwinConfig(
        embed_dim=128, depths=[2, 2, 18, 2], num_heads=[4, 8, 16, 32], num_labels=1000, drop_path_rate=0.0
    )
    return SwinForImageClassification(config).eval(), (torch.randn(batch, 3, 224, 224),)
