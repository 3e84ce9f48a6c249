"""Rotary places as one elementwise operation: what a GPU wants of them."""

from __future__ import annotations

import numpy as np

from tenfold.ir import dtype as dt
from tenfold.ir.graph import Value
from tenfold.ir.tensor import Tensor
from tenfold.ops.arithmetic import Add, Mul
from tenfold.ops.attention import RotaryEmbedding
from tenfold.ops.constant import Constant
from tenfold.ops.index import Gather
from tenfold.ops.logic import Cast
from tenfold.rewrite.rule import rule


@rule(
    "graph (%x: f32[N, 4], %c: f32[N, 2], %s: f32[N, 2]) { return RotaryEmbedding(%x, %c, %s) }",
    "graph (%x: f32[N, 6], %c: f32[N, 2], %s: f32[N, 2]) { return RotaryEmbedding(%x, %c, %s) }",
)
def turn_by_partners(v: Value) -> Value | None:
    """rotary(x) -> x cos + partner(x) sin, where partner(x) is the pair's other element, negated for the first of it"""
    if not isinstance(v.op, RotaryEmbedding):
        return None
    x, cos, sin = v.inputs
    half, whole = cos.type.shape[-1], x.type.shape[-1]
    if not isinstance(half, int) or whole != 2 * half:
        return None
    place = np.arange(2 * half)
    partner = place ^ 1 if v.op.interleaved else (place + half) % (2 * half)
    angle = place // 2 if v.op.interleaved else place % half
    sign = np.where(partner > place, -1, 1).astype(np.float32)
    wide = Cast(dt.f32)

    def taken(one: Value, places: np.ndarray) -> Value:
        found: Value = wide(Gather(one.type.rank - 1)(one, Constant(Tensor(places.astype(np.int64)))()))
        return found

    turned = Mul()(Mul()(taken(x, partner), Constant(Tensor(sign))()), taken(sin, angle))
    result: Value = Cast(x.type.dtype)(Add()(Mul()(wide(x), taken(cos, angle)), turned))
    return result
