"""Two networks, and the roads that each can come in by."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

import tenfold
from tenfold.importers import open_model
from tenfold.ir.graph import Graph
from tests.routes import in_keras


def _conv(a: int, b: int, kernel: int = 3, stride: int = 1, groups: int = 1, act: bool = True) -> nn.Sequential:
    layers = [nn.Conv2d(a, b, kernel, stride, kernel // 2, groups=groups, bias=False), nn.BatchNorm2d(b)]
    return nn.Sequential(*layers, *([nn.ReLU()] if act else []))


class Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(_conv(channels, channels), _conv(channels, channels, act=False))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x + self.inner(x))


class Convolutional(nn.Module):
    """What CNNs are made of: strided, residual, depthwise, pooled, gated, joined, classified."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.stem = nn.Sequential(_conv(3, width, 7, 2), nn.MaxPool2d(3, 2))
        self.residual = nn.Sequential(Residual(width), Residual(width))
        self.down = nn.Sequential(_conv(width, 2 * width, 1), _conv(2 * width, 2 * width, 3, 2, groups=2 * width))
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(2 * width, 2 * width, 1), nn.Sigmoid())
        self.left, self.right = _conv(2 * width, width, 1), _conv(2 * width, width)
        self.head = nn.Linear(2 * width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.down(self.residual(self.stem(x)))
        x = x * self.gate(x)
        x = torch.cat([self.left(x), self.right(x)], 1)
        return torch.softmax(self.head(x.mean((2, 3))), 1)


class Layer(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.q, self.k, self.v, self.out = (nn.Linear(width, width) for _ in range(4))
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, length, width = x.shape
        seen, shape = self.first(x), (batch, length, self.heads, width // self.heads)
        parts = [one(seen).view(shape).transpose(1, 2) for one in (self.q, self.k, self.v)]
        mixed = nn.functional.scaled_dot_product_attention(*parts)
        x = x + self.out(mixed.transpose(1, 2).reshape(batch, length, width))
        return x + self.mlp(self.second(x))


class Encoder(nn.Module):
    """A transformer encoder over words."""

    def __init__(self, width: int = 64, heads: int = 4, layers: int = 2) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(100, width), nn.Parameter(torch.randn(1, 32, width))
        self.layers = nn.Sequential(*(Layer(width, heads) for _ in range(layers)))
        self.last = nn.LayerNorm(width)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.last(self.layers(self.words(ids) + self.places[:, : ids.shape[1]])).mean(1)


@dataclass(frozen=True)
class Network:
    """A module with its weights drawn, and an input for it."""

    module: nn.Module
    example: torch.Tensor
    in_keras: Callable[[Any], Any]


def networks() -> Mapping[str, Network]:
    """Both, the same at each call."""
    torch.manual_seed(0)
    cnn, encoder = Convolutional().eval(), Encoder().eval()
    with torch.no_grad():
        cnn.head.weight.normal_()
        for one in cnn.modules():
            if isinstance(one, nn.BatchNorm2d):
                one.running_mean.normal_(0, 0.1)
                one.running_var.uniform_(0.5, 1.5)
    return {
        "cnn": Network(cnn, torch.randn(1, 3, 96, 96), in_keras.convolutional),
        "encoder": Network(encoder, torch.randint(0, 100, (1, 32)), in_keras.encoder),
    }


def _exported(network: Network) -> Graph:
    return open_model(network.module, example_inputs=(network.example,))


def _traced(network: Network) -> Graph:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        script = torch.jit.trace(network.module, network.example)
    return open_model(script, example_inputs=(network.example,))


def _onnx(opset: int) -> Callable[[Network], Graph]:
    def make(network: Network) -> Graph:
        file = io.BytesIO()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            settings: dict[str, Any] = {"opset_version": opset, "dynamo": False, "do_constant_folding": False}
            torch.onnx.export(network.module, (network.example,), file, **settings)
        return open_model(file.getvalue())

    return make


def _keras(network: Network) -> Graph:
    return open_model(network.in_keras(network.module))


ROUTES: Mapping[str, Callable[[Network], Graph]] = {
    "torch.export": _exported,
    "TorchScript": _traced,
    "ONNX 20": _onnx(20),
    "ONNX 14": _onnx(14),
    "Keras": _keras,
}


def engines(network: Network, effort: int = 0) -> dict[str, tenfold.Engine]:
    """One by each route."""
    return {name: tenfold.build(make(network), effort=effort, threads=1) for name, make in ROUTES.items()}
