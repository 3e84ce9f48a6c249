"""Transformers: BERT-base, ViT-B/16, GPT-2 with and without a cache, Whisper-tiny's encoder."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bench.cpu.sketch import INT64, Sketch


@dataclass(frozen=True)
class Width:
    """Sizes of a transformer: hidden, heads, layers."""

    hidden: int
    heads: int
    layers: int


BASE, TINY = Width(768, 12, 12), Width(384, 6, 4)


def _heads(net: Sketch, x: str, width: Width, order: tuple[int, ...] = (0, 2, 1, 3)) -> str:
    split = net.reshape(x, 0, 0, width.heads, width.hidden // width.heads)
    return net("Transpose", split, perm=list(order))


def _attended(net: Sketch, q: str, k: str, v: str, width: Width, bias: str) -> str:
    """Softmax of scaled scores, times the values; k lies as [B, H, D, T]."""
    scale = net.constant((width.hidden / width.heads) ** -0.5, np.float32)
    scores = net("Mul", net("MatMul", q, k), scale)
    weights = net("Softmax", net("Add", scores, bias) if bias else scores, axis=-1)
    joined = net("Transpose", net("MatMul", weights, v), perm=[0, 2, 1, 3])
    return net.reshape(joined, 0, 0, width.hidden)


def _attention(net: Sketch, x: str, width: Width, bias: str = "") -> str:
    q, k, v = (net.linear(x, width.hidden, width.hidden) for _ in range(3))
    k = _heads(net, k, width, (0, 2, 3, 1))
    joined = _attended(net, _heads(net, q, width), k, _heads(net, v, width), width, bias)
    return net.linear(joined, width.hidden, width.hidden, scale=0.5)


def _forward(net: Sketch, x: str, hidden: int) -> str:
    return net.linear(net.gelu(net.linear(x, hidden, 4 * hidden)), 4 * hidden, hidden, scale=0.5)


def bert(batch: int | str = 1, length: int | str = 128, width: Width = BASE) -> bytes:
    """BERT's encoder (Devlin et al., 2019): norms after the sums."""
    net, hidden = Sketch(), width.hidden
    ids, mask = (net.input(name, (batch, length), INT64) for name in ("input_ids", "attention_mask"))
    words = net("Gather", net.drawn(30522, hidden, scale=0.02), ids)
    if isinstance(length, int):
        places = net.drawn(length, hidden, scale=0.02)
    else:
        end = net("Slice", net("Shape", ids), net.constant([1]), net.constant([2]))
        places = net("Slice", net.drawn(512, hidden, scale=0.02), net.constant([0]), end)
    x = net.norm(net("Add", words, places), hidden, 1e-12)
    missing = net("Sub", net.constant(1, np.float32), net("Cast", mask, to=1))
    bias = net("Mul", missing, net.constant(np.finfo(np.float32).min, np.float32))
    bias = net("Unsqueeze", bias, net.constant([1, 2]))
    for _ in range(width.layers):
        x = net.norm(net("Add", _attention(net, x, width, bias), x), hidden, 1e-12)
        x = net.norm(net("Add", _forward(net, x, hidden), x), hidden, 1e-12)
    net.output(x)
    return net.model()


def _encoder(net: Sketch, x: str, width: Width) -> str:
    """Layers with norms ahead, and a last norm."""
    for _ in range(width.layers):
        x = net("Add", x, _attention(net, net.norm(x, width.hidden), width))
        x = net("Add", x, _forward(net, net.norm(x, width.hidden), width.hidden))
    return net.norm(x, width.hidden)


def vit(batch: int = 1) -> bytes:
    """ViT-B/16 (Dosovitskiy et al., 2021)."""
    net, hidden = Sketch(), BASE.hidden
    patches = net.conv(net.input("image", (batch, 3, 224, 224)), (3, hidden), 16, 16, pad=0)
    x = net("Transpose", net.reshape(patches, batch, hidden, 196), perm=[0, 2, 1])
    x = net("Concat", net.drawn(batch, 1, hidden, scale=0.02), x, axis=1)
    x = _encoder(net, net("Add", x, net.drawn(1, 197, hidden, scale=0.02)), BASE)
    first = net("Gather", x, net.constant(0), axis=1)
    net.output(net.linear(first, hidden, 1000), (batch, 1000))
    return net.model()


def whisper_encoder() -> bytes:
    """Whisper-tiny's encoder (Radford et al., 2023): 30 seconds of sound."""
    net = Sketch()
    x = net.gelu(net.conv(net.input("sound", (1, 80, 3000)), (80, 384), 3, axes=1))
    x = net.gelu(net.conv(x, (384, 384), 3, 2, axes=1))
    x = net("Add", net("Transpose", x, perm=[0, 2, 1]), net.drawn(1500, 384, scale=0.02))
    net.output(_encoder(net, x, TINY), (1, 1500, 384))
    return net.model()


def _gelu_of_tanh(net: Sketch, x: str) -> str:
    """The approximation of GPT-2: x/2 (1 + tanh(√(2/π) (x + 0.044715 x³)))."""
    cube = net("Mul", net("Pow", x, net.constant(3, np.float32)), net.constant(0.044715, np.float32))
    inner = net("Mul", net("Add", x, cube), net.constant((2 / np.pi) ** 0.5, np.float32))
    grown = net("Add", net("Tanh", inner), net.constant(1, np.float32))
    return net("Mul", net("Mul", x, net.constant(0.5, np.float32)), grown)


def gpt2(length: int, past: int = 0) -> bytes:
    """GPT-2 (Radford et al., 2019): `length` tokens after `past` cached ones, logits of all."""
    net, hidden, vocabulary = Sketch(), BASE.hidden, 50257
    ids = net.input("input_ids", (1, length), INT64)
    table = net.random.standard_normal((vocabulary, hidden), np.float32) * np.float32(0.02)
    words = net("Gather", net.constant(table, np.float32), ids)
    x = net("Add", words, net.drawn(length, hidden, scale=0.02))
    allowed = np.tri(length, past + length, past, dtype=bool)
    bias = net.constant(np.where(allowed, 0, np.finfo(np.float32).min), np.float32) if length > 1 else ""
    for layer in range(BASE.layers):
        qkv = net.linear(net.norm(x, hidden), hidden, 3 * hidden)
        parts = net("Split", qkv, net.constant([hidden] * 3), outputs=3, axis=-1)
        q, k, v = (_heads(net, part, BASE) for part in parts)
        if past:
            shape = (1, BASE.heads, past, hidden // BASE.heads)
            k, v = (
                net("Concat", net.input(f"past_{name}_{layer}", shape), new, axis=2)
                for name, new in (("key", k), ("value", v))
            )
            net.output(k)
            net.output(v)
        joined = _attended(net, q, net("Transpose", k, perm=[0, 1, 3, 2]), v, BASE, bias)
        x = net("Add", x, net.linear(joined, hidden, hidden, scale=0.5))
        inner = _gelu_of_tanh(net, net.linear(net.norm(x, hidden), hidden, 4 * hidden))
        x = net("Add", x, net.linear(inner, 4 * hidden, hidden, scale=0.5))
    net.output(net("MatMul", net.norm(x, hidden), net.constant(table.T.copy(), np.float32)))
    return net.model()
