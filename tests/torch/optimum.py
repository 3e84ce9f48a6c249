"""A GPT-2 of transformers as an ONNX file, as optimum exports decoders with their cache."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto

from bench.cpu.sketch import INT64, Sketch


class _Export:
    """One network being written down, with the weights of a model."""

    def __init__(self, model: Any) -> None:
        self.net = Sketch()
        self.weights = {name: one.detach().numpy() for name, one in model.state_dict().items()}
        self.heads, self.width = model.config.n_head, model.config.n_embd
        self.size = self.width // self.heads

    def weight(self, name: str) -> str:
        return self.net.constant(self.weights[f"transformer.{name}"], np.float32)

    def norm(self, x: str, name: str) -> str:
        scale, bias = self.weight(f"{name}.weight"), self.weight(f"{name}.bias")
        found: str = self.net("LayerNormalization", x, scale, bias, axis=-1, epsilon=1e-5)
        return found

    def linear(self, x: str, name: str) -> str:
        product = self.net("MatMul", x, self.weight(f"{name}.weight"))
        found: str = self.net("Add", product, self.weight(f"{name}.bias"))
        return found

    def apart(self, x: str) -> str:
        """[batch, tokens, width] as [batch, heads, tokens, size]."""
        split = self.net.reshape(x, 0, 0, self.heads, self.size)
        found: str = self.net("Transpose", split, perm=[0, 2, 1, 3])
        return found

    def scalar(self, x: str, axis: int) -> str:
        """A size of x as a number."""
        found: str = self.net("Gather", self.net("Shape", x), self.net.constant(axis))
        return found

    def bias(self, ids: str, mask: str) -> str:
        """0 where a token sees another, the least number where it does not."""
        net, one, zero = self.net, self.net.constant(1), self.net.constant(0)
        total = self.scalar(mask, 1)
        first = net("Sub", total, self.scalar(ids, 1))
        queries = net("Unsqueeze", net("Range", first, total, one), net.constant([1]))
        earlier = net("LessOrEqual", net("Range", zero, total, one), queries)
        counts = net("Unsqueeze", net("Cast", mask, to=TensorProto.BOOL), net.constant([1, 2]))
        least = net.constant(np.finfo(np.float32).min, np.float32)
        found: str = net("Where", net("And", earlier, counts), net.constant(0, np.float32), least)
        return found

    def layer(self, x: str, number: int, bias: str) -> str:
        net, name = self.net, f"h.{number}"
        joined = self.linear(self.norm(x, f"{name}.ln_1"), f"{name}.attn.c_attn")
        q, k, v = (self.apart(one) for one in net("Split", joined, net.constant([self.width] * 3), outputs=3, axis=-1))
        k, v = self.cached(k, number, "key"), self.cached(v, number, "value")
        scores = net("MatMul", q, net("Transpose", k, perm=[0, 1, 3, 2]))
        scores = net("Add", net("Div", scores, net.constant(self.size**0.5, np.float32)), bias)
        seen = net("Transpose", net("MatMul", net("Softmax", scores, axis=-1), v), perm=[0, 2, 1, 3])
        x = net("Add", x, self.linear(net.reshape(seen, 0, 0, self.width), f"{name}.attn.c_proj"))
        inner = net("Gelu", self.linear(self.norm(x, f"{name}.ln_2"), f"{name}.mlp.c_fc"), approximate="tanh")
        found: str = net("Add", x, self.linear(inner, f"{name}.mlp.c_proj"))
        return found

    def cached(self, new: str, layer: int, name: str) -> str:
        shape = ("batch_size", self.heads, "past_sequence_length", self.size)
        past = self.net.input(f"past_key_values.{layer}.{name}", shape)
        whole = self.net("Concat", past, new, axis=2)
        return self.named(whole, f"present.{layer}.{name}", (*shape[:2], "total", self.size))

    def named(self, value: str, name: str, shape: Any) -> str:
        self.net.output(self.net("Identity", value), shape)
        self.net.nodes[-1].output[0] = self.net.results[-1].name = name
        return value


def gpt2(model: Any) -> bytes:
    """The file."""
    made = _Export(model)
    net = made.net
    ids = net.input("input_ids", ("batch_size", "sequence_length"), INT64)
    mask = net.input("attention_mask", ("batch_size", "past_sequence_length + sequence_length"), INT64)
    places = net.input("position_ids", ("batch_size", "sequence_length"), INT64)
    x = net("Add", net("Gather", made.weight("wte.weight"), ids), net("Gather", made.weight("wpe.weight"), places))
    bias = made.bias(ids, mask)
    for number in range(model.config.n_layer):
        x = made.layer(x, number, bias)
    head = net("Transpose", made.weight("wte.weight"), perm=[1, 0])
    logits = net("MatMul", made.norm(x, "ln_f"), head)
    made.named(logits, "logits", ("batch_size", "sequence_length", model.config.vocab_size))
    return net.model(opset=20)
