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

    def mlp(self, x: Value) -> Value:
        """Four times as wide, with gelu."""
        return self.linear(ops.Gelu(False)(self.linear(x, 4 * self.width)), self.width)


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
