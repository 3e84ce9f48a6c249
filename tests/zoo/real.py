"""Six models at the sizes that were published, their weights drawn."""

from __future__ import annotations

from collections.abc import Callable

import torch
import transformers
from torch import nn

from tests.zoo.convolutional import Gate, Residual, bottleneck, classifier, conv
from tests.zoo.entry import Entry, Inputs, pixels, words


def _resnet() -> tuple[nn.Module, Inputs]:
    layers: list[nn.Module] = [conv(3, 64, 7, 2), nn.MaxPool2d(3, 2, 1)]
    before = 64
    for width, count, stride in ((256, 3, 1), (512, 4, 2), (1024, 6, 2), (2048, 3, 2)):
        for at in range(count):
            layers.append(bottleneck(before, width, 1 if at else stride, middle=width // 4))
            before = width
    return classifier(*layers, channels=2048, classes=1000), (pixels(224),)


def _expanded(a: int, b: int, kernel: int, stride: int, ratio: int) -> nn.Module:
    wide = ratio * a
    layers: list[nn.Module] = [] if ratio == 1 else [conv(a, wide, 1, act=nn.SiLU)]
    layers += [conv(wide, wide, kernel, stride, wide, nn.SiLU), Gate(wide, squeezed=a // 4)]
    inner = nn.Sequential(*layers, conv(wide, b, 1, act=nn.Identity))
    return Residual(inner) if a == b and stride == 1 else inner


def _efficientnet() -> tuple[nn.Module, Inputs]:
    stages = (
        *((1, 16, 1, 1, 3), (6, 24, 2, 2, 3), (6, 40, 2, 2, 5), (6, 80, 3, 2, 3)),
        *((6, 112, 3, 1, 5), (6, 192, 4, 2, 5), (6, 320, 1, 1, 3)),
    )
    layers: list[nn.Module] = [conv(3, 32, 3, 2, act=nn.SiLU)]
    before = 32
    for ratio, width, count, stride, kernel in stages:
        for at in range(count):
            layers.append(_expanded(before, width, kernel, 1 if at else stride, ratio))
            before = width
    return classifier(*layers, conv(320, 1280, 1, act=nn.SiLU), channels=1280, classes=1000), (pixels(224),)


def _bert() -> tuple[nn.Module, Inputs]:
    ids = words(1, 128, 30000)
    return transformers.BertModel(transformers.BertConfig()), {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
    }


def _gpt2() -> tuple[nn.Module, Inputs]:
    return transformers.GPT2LMHeadModel(transformers.GPT2Config(use_cache=False)), {"input_ids": words(1, 64, 50000)}


def _vit() -> tuple[nn.Module, Inputs]:
    return transformers.ViTModel(transformers.ViTConfig()), {"pixel_values": pixels(224)}


def _whisper() -> tuple[nn.Module, Inputs]:
    config = transformers.WhisperConfig(use_cache=False, **WHISPER_TINY)
    given = {"input_features": torch.randn(1, 80, 3000), "decoder_input_ids": words(1, 8, 50000)}
    return transformers.WhisperForConditionalGeneration(config), given


WHISPER_TINY = {
    **{f"{part}_{key}": value for part in ("encoder", "decoder") for key, value in (("layers", 4), ("ffn_dim", 1536))},
    **{f"{part}_attention_heads": 6 for part in ("encoder", "decoder")},
    "d_model": 384,
}

MODELS: dict[str, Callable[[], tuple[nn.Module, Inputs]]] = {
    "ResNet-50": _resnet,
    "EfficientNet-B0": _efficientnet,
    "ViT-B/16": _vit,
    "BERT-base, 128": _bert,
    "GPT-2 small, 64": _gpt2,
    "Whisper tiny, 30 s": _whisper,
}
ENTRIES = tuple(Entry(name, make) for name, make in MODELS.items())
