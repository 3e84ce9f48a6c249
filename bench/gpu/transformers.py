"""BERT and ViT by hand: the shapes of the real ones, weights drawn, written as exporters write them."""

from __future__ import annotations

import numpy as np

from tenfold import ops
from tenfold.ir import dtype as dt
from tenfold.ir.graph import Graph, Value
from tenfold.ir.tensor import Tensor
from tenfold.ir.type import Type

HEAD = 64


class Writer:
    """Writes layers of one width; every weight has a name."""

    def __init__(self, width: int, seed: int = 0) -> None:
        self.width = width
        self._random = np.random.default_rng(seed)
        self._count = 0

    def weight(self, *shape: int, scale: float = 0.02, start: float = 0.0) -> Value:
        """A constant drawn round `start`."""
        self._count += 1
        array = (self._random.standard_normal(shape, np.float32) * scale + start).astype(np.float32)
        value: Value = ops.Constant(Tensor(array, source=f"w{self._count}"))()
        return value

    def linear(self, x: Value, n: int, scale: float = 0.03) -> Value:
        """x w + b."""
        k = x.type.shape[-1]
        assert isinstance(k, int)
        value: Value = ops.Add()(ops.MatMul()(x, self.weight(k, n, scale=scale)), self.weight(n))
        return value

    def norm(self, x: Value) -> Value:
        """Layer norm over the last axis."""
        scale, shift = self.weight(self.width, scale=0.1, start=1.0), self.weight(self.width, scale=0.1)
        value: Value = ops.LayerNorm(x.type.rank - 1, 1e-6)(x, scale, shift)
        return value

    def attention(self, x: Value) -> Value:
        """Self-attention, as products and a softmax."""
        batch, length, _ = x.type.shape
        heads = self.width // HEAD

        def apart(one: Value) -> Value:
            value: Value = ops.Transpose((0, 2, 1, 3))(ops.Reshape((batch, length, heads, HEAD))(one))
            return value

        q, k, v = (apart(self.linear(x, self.width)) for _ in range(3))
        scores = ops.MatMul()(q, ops.Transpose((0, 1, 3, 2))(k))
        scores = ops.Mul()(scores, ops.scalar(HEAD**-0.5, dt.f32)())
        joined = ops.Transpose((0, 2, 1, 3))(ops.MatMul()(ops.Softmax(3)(scores), v))
        return self.linear(ops.Reshape((batch, length, self.width))(joined), self.width)

    def causal(self, x: Value) -> Value:
        """Self-attention of each word to those before it."""
        batch, length, _ = x.type.shape
        heads = self.width // HEAD
        q, k, v = (
            ops.Transpose((0, 2, 1, 3))(ops.Reshape((batch, length, heads, HEAD))(self.linear(x, self.width)))
            for _ in range(3)
        )
        found = ops.Transpose((0, 2, 1, 3))(ops.Attention(HEAD**-0.5, causal=True)(q, k, v))
        return self.linear(ops.Reshape((batch, length, self.width))(found), self.width)

    def mlp(self, x: Value, tanh: bool = False) -> Value:
        """Four times as wide, with gelu."""
        return self.linear(ops.Gelu(tanh)(self.linear(x, 4 * self.width)), self.width)


def bert(batch: int, length: int = 128, width: int = 768, layers: int = 12) -> Graph:
    """Words and places embedded, then layers with their norms behind."""
    writer, graph = Writer(width), Graph(name="bert")
    ids = graph.input("ids", Type(dt.i64, (batch, length)))
    x = ops.Add()(ops.Gather(0)(writer.weight(30522, width, scale=1.0), ids), writer.weight(1, length, width))
    x = writer.norm(x)
    for _ in range(layers):
        x = writer.norm(ops.Add()(x, writer.attention(x)))
        x = writer.norm(ops.Add()(x, writer.mlp(x)))
    graph.set_outputs([x], ["hidden"])
    return graph


def vit(batch: int, width: int = 768, layers: int = 12, size: int = 224, patch: int = 16) -> Graph:
    """Patches embedded, a word for the class before them, then layers with their norms ahead."""
    writer, graph = Writer(width), Graph(name="vit")
    image = graph.input("image", Type(dt.f32, (batch, 3, size, size)))
    count = (size // patch) ** 2
    convolution = ops.Conv((patch, patch), (1, 1), (0, 0), (0, 0))
    patches = ops.Add()(convolution(image, writer.weight(width, 3, patch, patch)), writer.weight(1, width, 1, 1))
    words = ops.Transpose((0, 2, 1))(ops.Reshape((batch, width, count))(patches))
    x = ops.Concat(1)(ops.Expand((batch, 1, width))(writer.weight(1, 1, width)), words)
    x = ops.Add()(x, writer.weight(1, count + 1, width))
    for _ in range(layers):
        x = ops.Add()(x, writer.attention(writer.norm(x)))
        x = ops.Add()(x, writer.mlp(writer.norm(x)))
    first = ops.Reshape((batch, width))(ops.Slice((0, 0, 0), (batch, 1, width), (1, 1, 1))(writer.norm(x)))
    graph.set_outputs([writer.linear(first, 1000)], ["logits"])
    return graph


def gpt2(batch: int, length: int = 512, width: int = 768, layers: int = 12) -> Graph:
    """GPT-2's shape over a prompt: words and places, layers with their norms ahead, the last word's logits."""
    writer, graph = Writer(width), Graph(name="gpt2")
    ids = graph.input("ids", Type(dt.i64, (batch, length)))
    words = writer.weight(50257, width, scale=1.0)
    x = ops.Add()(ops.Gather(0)(words, ids), writer.weight(1, length, width))
    for _ in range(layers):
        x = ops.Add()(x, writer.causal(writer.norm(x)))
        x = ops.Add()(x, writer.mlp(writer.norm(x), tanh=True))
    last = ops.Slice((0, length - 1, 0), (batch, 1, width), (1, 1, 1))(writer.norm(x))
    graph.set_outputs([ops.MatMul()(last, ops.Transpose((1, 0))(words))], ["logits"])
    return graph


def whisper(batch: int, width: int = 768, layers: int = 12, frames: int = 3000, mels: int = 80) -> Graph:
    """Whisper-small's encoder: two convolutions along time, then layers with their norms ahead."""
    writer, graph = Writer(width), Graph(name="whisper")
    x = graph.input("mels", Type(dt.f32, (batch, mels, frames)))
    for channels, stride in ((mels, 1), (width, 2)):
        w = writer.weight(width, channels, 3, scale=0.05)
        x = ops.Gelu(False)(ops.Add()(ops.Conv((stride,), (1,), (1,), (1,))(x, w), writer.weight(1, width, 1)))
    x = ops.Add()(ops.Transpose((0, 2, 1))(x), writer.weight(1, frames // 2, width))
    for _ in range(layers):
        x = ops.Add()(x, writer.attention(writer.norm(x)))
        x = ops.Add()(x, writer.mlp(writer.norm(x)))
    graph.set_outputs([writer.norm(x)], ["hidden"])
    return graph
