"""Llama's shape by hand, in f16: RMS norms, rotary places, keys and values shared by heads, a gated MLP."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tenfold import ops
from tenfold.ir import dtype as dt
from tenfold.ir.graph import Graph, Value
from tenfold.ir.tensor import Tensor
from tenfold.ir.type import Type

HEAD = 64


@dataclass(frozen=True)
class Shape:
    """How large; the usual sizes are those of Llama 3.2 1B."""

    width: int = 2048
    layers: int = 16
    heads: int = 32
    shared: int = 8
    inner: int = 8192
    words: int = 128256


class Writer:
    """Writes layers; weights are drawn as bits, so that a billion of them takes seconds."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self._random = np.random.default_rng(0)
        self._count = 0

    def weight(self, *shape: int, exponent: int = -6) -> Value:
        """A constant of both signs, between 2^exponent and twice that."""
        self._count += 1
        bits = self._random.integers(0, 1 << 16, shape, np.uint16) & np.uint16(0x83FF)
        array = (bits | np.uint16((15 + exponent) << 10)).view(np.float16)
        value: Value = ops.Constant(Tensor(array, source=f"w{self._count}"))()
        return value

    def norm(self, x: Value) -> Value:
        """RMS norm."""
        value: Value = ops.RMSNorm(2, 1e-5)(x, self.weight(self.shape.width, exponent=0))
        return value

    def linear(self, x: Value, n: int) -> Value:
        """x w."""
        k = x.type.shape[-1]
        assert isinstance(k, int)
        value: Value = ops.MatMul()(x, self.weight(k, n))
        return value

    def heads(self, x: Value, count: int) -> Value:
        """[batch, length, count heads] as [batch, count, length, head]."""
        batch, length, _ = x.type.shape
        value: Value = ops.Transpose((0, 2, 1, 3))(ops.Reshape((batch, length, count, HEAD))(x))
        return value

    def attention(self, x: Value, turn: tuple[Value, Value], past: Value | None) -> tuple[Value, Value]:
        """Causal self-attention behind what is past; all keys and, behind their heads, all values."""
        shape, (batch, length, width) = self.shape, x.type.shape
        q, k, v = (
            self.heads(self.linear(x, count * HEAD), count) for count in (shape.heads, shape.shared, shape.shared)
        )
        q, k = (ops.RotaryEmbedding()(one, *turn) for one in (q, k))
        both, before = ops.Concat(1)(k, v), 0
        if past is not None:
            both, before = ops.Concat(2)(past, both), past.type.shape[2]  # type: ignore[assignment]
        size = (batch, shape.shared, both.type.shape[2], HEAD)
        keys, values = (ops.Slice((0, first, 0, 0), size, (1, 1, 1, 1))(both) for first in (0, shape.shared))
        found = ops.Attention(HEAD**-0.5, causal=True, offset=before)(q, keys, values)
        joined = ops.Reshape((batch, length, width))(ops.Transpose((0, 2, 1, 3))(found))
        return self.linear(joined, shape.width), both

    def mlp(self, x: Value) -> Value:
        """silu(x gate) * (x up), down again."""
        gate, up = (self.linear(x, self.shape.inner) for _ in range(2))
        return self.linear(ops.Mul()(ops.Silu()(gate), up), self.shape.width)


def turning(length: int, before: int) -> tuple[Value, Value]:
    """Cosines and sines of the places behind `before`."""
    angles = np.arange(before, before + length)[:, None] * 500000.0 ** (-np.arange(0, HEAD, 2) / HEAD)
    cos, sin = (ops.Constant(Tensor(f(angles).astype(np.float16)))() for f in (np.cos, np.sin))
    return cos, sin


def llama(batch: int, length: int = 512, past: int = 0, shape: Shape = Shape()) -> Graph:
    """The last word's logits, and behind a past of so many words all keys and values."""
    writer, graph = Writer(shape), Graph(name="llama")
    x = ops.Gather(0)(
        writer.weight(shape.words, shape.width, exponent=-1), graph.input("ids", Type(dt.i64, (batch, length)))
    )
    turn, more = turning(length, past), []
    for layer in range(shape.layers):
        old = None
        if past:
            old = graph.input(f"past{layer}", Type(dt.f16, (batch, 2 * shape.shared, past, HEAD)))
        found, both = writer.attention(writer.norm(x), turn, old)
        x = ops.Add()(x, found)
        x = ops.Add()(x, writer.mlp(writer.norm(x)))
        more += [both] if past else []
    last = ops.Slice((0, length - 1, 0), (batch, 1, shape.width), (1, 1, 1))(writer.norm(x))
    logits = writer.linear(last, shape.words)
    graph.set_outputs([logits, *more], ["logits", *(f"present{number}" for number in range(len(more)))])
    return graph
