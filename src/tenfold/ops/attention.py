"""Attention, and the rotary embedding of positions that goes with it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import numpy as np

from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ir.dim import Size
from tenfold.ir.op import Array, Cost, Op
from tenfold.ir.type import Type
from tenfold.ops.elementwise import broadcast_shapes
from tenfold.ops.matmul import moved
from tenfold.ops.precision import require_float, widen
from tenfold.ops.window import differ, known


class Attention(Op):
    """softmax(scale q k' [softcapped] [+ mask]) v for each head (Vaswani et al. 2017).

    q [B, H, S, D], k [B, Hk, T, D], v [B, Hk, T, E] give [B, H, S, E]; each head of k and v serves H / Hk
    consecutive heads of q. The optional mask broadcasts to [B, H, S, T]: bool (True: attend) or added to the scores.
    `causal`: query i sees keys up to i + offset. `softcap` c > 0: scores become c tanh(score / c) before the mask.
    A query that sees no key gives zeros, or NaN if `blind` says so (as a softmax of nothing but -inf is).
    Scores, softmax and sums are in f32 at least.
    """

    scale: float
    causal: bool = False
    offset: Size = 0
    softcap: float = 0.0
    blind: Literal["zero", "nan"] = "zero"

    def infer(self, q: Type, k: Type, v: Type, *mask: Type) -> Type:
        """[B, H, S, E]; ValueError names what does not fit."""
        dtype = require_float(self.name, q, k, v)
        if (q.rank, k.rank, v.rank) != (4, 4, 4) or len(mask) > 1:
            raise ValueError(f"Attention takes q, k, v of rank 4 and at most one mask, not {q}, {k}, {v}")
        pairs = (
            *(("head sizes", q.shape[3], k.shape[3]), ("key counts", k.shape[2], v.shape[2])),
            *(("batches", q.shape[0], k.shape[0]), ("batches", k.shape[0], v.shape[0])),
            ("heads of keys and values", k.shape[1], v.shape[1]),
        )
        _agree(f"Attention of {q}, {k}, {v}", pairs, q.shape[1], k.shape[1])
        scores = (*q.shape[:3], k.shape[2])
        for one in mask:
            if one.dtype not in (dtype, dt.boolean) or len(broadcast_shapes(scores, one.shape)) != 4:
                raise ValueError(f"Attention takes a mask of bool or {dtype} that broadcasts to its scores, not {one}")
        return Type(dtype, (*q.shape[:3], v.shape[3]))

    def evaluate(self, q: Array, k: Array, v: Array, *mask: Array) -> Array:
        """The definition, with all scores held at once."""
        if 0 in k.shape[:3]:
            return np.zeros((*q.shape[:3], v.shape[3]), q.dtype)
        repeats = q.shape[1] // k.shape[1]
        keys, values = (np.repeat(widen(one), repeats, axis=1) for one in (k, v))
        scores = np.matmul(widen(q), np.swapaxes(keys, 2, 3))
        scores = scores * scores.dtype.type(self.scale)
        if self.softcap > 0:
            scores = np.tanh(scores / scores.dtype.type(self.softcap)) * scores.dtype.type(self.softcap)
        bias = self._bias(scores, *mask)
        blind = np.isneginf(bias.max(axis=-1, keepdims=True))
        scores = np.where(blind, 0, scores + bias)
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        weights = np.where(blind, 0 if self.blind == "zero" else np.nan, weights / weights.sum(axis=-1, keepdims=True))
        return np.asarray(np.matmul(weights, values)).astype(q.dtype)

    def _bias(self, scores: Array, *mask: Array) -> Array:
        bias = np.zeros_like(scores)
        for one in mask:
            bias = bias + (np.where(one, 0, -np.inf) if one.dtype == np.bool_ else widen(one))
        if self.causal:
            (offset,) = known((self.offset,))
            queries, keys = np.indices(scores.shape[2:])
            bias = np.where(keys <= queries + offset, bias, -np.inf)
        return bias.astype(scores.dtype)

    def cost(self, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Cost:
        """Both products; a causal mask saves nothing here."""
        q, k, v = inputs[:3]
        return Cost(2 * dim.product(q.shape[:3]) * k.shape[2] * (q.shape[3] + v.shape[3]), moved(*inputs, *outputs))


class PagedAttention(Op):
    """Attention whose keys and values lie in the pages of a pool (Kwon et al. 2023, "PagedAttention").

    q [B, H, S, D], k [pages, page, Hk, D], v [pages, page, Hk, E], table [B, P], lengths [B] give [B, H, S, E]; each
    head of k and v serves H / Hk consecutive heads of q. Place t of sequence b lies on page table[b, t // page]. Those
    before lengths[b] (at most P page) are seen, and their pages must exist; a negative one counts from the end.
    `causal`: its queries are the last S of these places, each of which sees none behind it. `softcap` and what sees
    nothing are as in `Attention`.
    """

    scale: float
    causal: bool = False
    softcap: float = 0.0

    def infer(self, q: Type, k: Type, v: Type, table: Type, lengths: Type) -> Type:
        """[B, H, S, E]; ValueError names what does not fit."""
        dtype = require_float(self.name, q, k, v)
        if [one.rank for one in (q, k, v, table, lengths)] != [4, 4, 4, 2, 1]:
            raise ValueError(f"PagedAttention takes ranks 4, 4, 4, 2 and 1, not {q}, {k}, {v}, {table}, {lengths}")
        if any(one.dtype not in (dt.i32, dt.i64) for one in (table, lengths)):
            raise ValueError(f"PagedAttention takes a table and lengths of i32 or i64, not {table} and {lengths}")
        pairs = (
            ("head sizes", q.shape[3], k.shape[3]),
            *(("pools", a, b) for a, b in zip(k.shape[:3], v.shape[:3], strict=True)),
            *(("batches", q.shape[0], one.shape[0]) for one in (table, lengths)),
        )
        _agree(f"PagedAttention of {q}, {k}, {v}, {table}, {lengths}", pairs, q.shape[1], k.shape[2])
        return Type(dtype, (*q.shape[:3], v.shape[3]))

    def evaluate(self, q: Array, k: Array, v: Array, table: Array, lengths: Array) -> Array:
        """The definition: pages gathered, and attention with a mask."""
        batch, places = table.shape[0], table.shape[1] * k.shape[1]
        needed = np.arange(table.shape[1]) * k.shape[1] < lengths[:, None]
        chosen = np.where(needed, table, 0)
        keys, values = (
            np.take(one, chosen, axis=0).reshape(batch, places, *one.shape[2:]).transpose(0, 2, 1, 3) for one in (k, v)
        )
        ends = np.broadcast_to(lengths[:, None], (batch, q.shape[2]))
        if self.causal:
            ends = ends - q.shape[2] + 1 + np.arange(q.shape[2])
        seen = (np.arange(places) < ends[:, :, None]) & (np.arange(places) < lengths[:, None, None])
        return Attention(self.scale, softcap=self.softcap).evaluate(q, keys, values, seen[:, None])

    def cost(self, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Cost:
        """As if every sequence filled its pages."""
        q, k, v, table, lengths = inputs
        places = table.shape[1] * k.shape[1]
        read = [Type(one.dtype, (table.shape[0], places, *one.shape[2:])) for one in (k, v)]
        work = 2 * dim.product(q.shape[:3]) * places * (q.shape[3] + v.shape[3])
        return Cost(work, moved(q, *read, table, lengths, *outputs))


def _agree(what: str, pairs: Iterable[tuple[str, Size, Size]], heads: Size, shared: Size) -> None:
    """ValueError if sizes that go together differ, or heads do not share those of keys evenly."""
    for which, a, b in pairs:
        if differ(a, b):
            raise ValueError(f"{what}: the {which} differ")
    if isinstance(heads, int) and isinstance(shared, int) and (shared == 0 or heads % shared):
        raise ValueError(f"{what}: {heads} heads do not share {shared} heads of keys evenly")


class RotaryEmbedding(Op):
    """Turn pairs of elements of x [..., D] by angles (Su et al. 2021): (a cos - b sin, a sin + b cos).

    cos and sin [..., R / 2] broadcast over x's other axes. The first R elements are turned, the rest stay; pairs
    are i and i + R / 2, or neighbours if `interleaved`.
    """

    interleaved: bool = False

    def infer(self, x: Type, cos: Type, sin: Type) -> Type:
        """The input's type."""
        require_float(self.name, x, cos, sin)
        half = cos.shape[-1] if cos.rank else 0
        if not isinstance(half, int) or (isinstance(x.shape[-1], int) and 2 * half > x.shape[-1]):
            raise ValueError(f"RotaryEmbedding of {x} by {cos}: more pairs than elements, or not a known number")
        rest = tuple(broadcast_shapes(x.shape[:-1], cos.shape[:-1], sin.shape[:-1]))
        if len(rest) != x.rank - 1 or cos.shape[-1] != sin.shape[-1]:
            raise ValueError(f"RotaryEmbedding takes cos and sin that broadcast to {x}, not {cos} and {sin}")
        return Type(x.dtype, x.shape)

    def evaluate(self, x: Array, cos: Array, sin: Array) -> Array:
        """The definition."""
        half = cos.shape[-1]
        wide, c, s = widen(x).copy(), widen(cos), widen(sin)
        first = np.s_[..., 0 : 2 * half : 2] if self.interleaved else np.s_[..., :half]
        second = np.s_[..., 1 : 2 * half : 2] if self.interleaved else np.s_[..., half : 2 * half]
        a, b = wide[first].copy(), wide[second].copy()
        wide[first], wide[second] = a * c - b * s, a * s + b * c
        return wide.astype(x.dtype)
