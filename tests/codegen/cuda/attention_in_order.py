"""Attention in Gluon of few keys and of many, as plain Triton: one tile after another."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def scores_of(queries, k, at, begin, t, N: tl.constexpr, D: tl.constexpr):
    """The products of queries with N keys from `begin` on; -inf of those that do not exist."""
    keys = tl.reshape(k.load([at[0], at[1], begin, 0]), (N, D))
    there = (begin + tl.arange(0, N) < t)[None, :]
    return tl.where(there, tl.dot(queries, keys.T), float("-inf"))


@triton.jit
def put(output, found, at, TILES: tl.constexpr, E: tl.constexpr):
    """Store results a tile of 64 queries at a time."""
    tiles = tl.reshape(found, (TILES, 64, E))
    for tile in range(TILES):
        mine = tl.sum(tl.where((tl.arange(0, TILES) == tile)[:, None, None], tiles, 0.0), 0)
        output.store([at[0], at[1], at[2] + tile * 64, 0], tl.reshape(mine.to(output.dtype), output.block_shape))


@triton.jit
def whole(
    q, k, v, output, heads, shared, count, SCALE: tl.constexpr, T: tl.constexpr, PARTS: tl.constexpr, D: tl.constexpr,
    E: tl.constexpr, TILES: tl.constexpr, SPLIT: tl.constexpr, BYTES: tl.constexpr, SLOTS: tl.constexpr,
    TEAMS: tl.constexpr, WARPS: tl.constexpr, EARLY: tl.constexpr,
):  # fmt: skip
    FACTOR: tl.constexpr = 1.4426950408889634e-12 * SCALE
    for work in range(tl.program_id(0), count, tl.num_programs(0)):
        image, head, first = work // SPLIT // heads, work // SPLIT % heads, work % SPLIT * TILES * 64
        at = (image, head // (heads // shared))
        queries = tl.reshape(q.load([image, head, first, 0]), (TILES * 64, D))
        scores, begin, peak = (), 0, tl.full((TILES * 64,), float("-inf"), tl.float32)
        for part in tl.static_range(len(PARTS)):
            scores = scores + (scores_of(queries, k[part], at, begin, T, PARTS[part], D),)
            peak, begin = tl.maximum(peak, tl.max(scores[part], 1)), begin + PARTS[part]
        acc, total, begin = tl.zeros((TILES * 64, E), tl.float32), tl.zeros((TILES * 64,), tl.float32), 0
        for part in tl.static_range(len(PARTS)):
            powers = tl.exp2((scores[part] - peak[:, None]) * FACTOR)
            values = tl.reshape(v[part].load([at[0], at[1], begin, 0]), (PARTS[part], E))
            acc, total = tl.dot(powers.to(values.dtype), values, acc), total + tl.sum(powers, 1)
            begin = begin + PARTS[part]
        put(output, acc / total[:, None], (image, head, first), TILES, E)


@triton.jit
def running(
    q, k, v, output, heads, shared, count, blocks, SCALE: tl.constexpr, T: tl.constexpr, STEPS: tl.constexpr,
    N: tl.constexpr, D: tl.constexpr, ROWS: tl.constexpr, BYTES: tl.constexpr, SLOTS: tl.constexpr,
    QUEUED: tl.constexpr, TEAMS: tl.constexpr, WARPS: tl.constexpr, EARLY: tl.constexpr,
):  # fmt: skip
    FACTOR: tl.constexpr = 1.4426950408889634e-12 * SCALE
    for work in range(tl.program_id(0), count, tl.num_programs(0)):
        image, head, first = work // blocks // heads, work // blocks % heads, work % blocks * ROWS
        at = (image, head // (heads // shared))
        queries = tl.reshape(q.load([image, head, first, 0]), (ROWS, D))
        peak, total = tl.full((ROWS,), float("-inf"), tl.float32), tl.zeros((ROWS,), tl.float32)
        acc = tl.zeros((ROWS, D), tl.float32)
        for step in range(STEPS):
            scores = scores_of(queries, k, at, step * N, T, N, D)
            higher = tl.maximum(peak, tl.max(scores, 1))
            powers, scale = tl.exp2((scores - higher[:, None]) * FACTOR), tl.exp2((peak - higher) * FACTOR)
            values = tl.reshape(v.load([at[0], at[1], step * N, 0]), (N, D))
            acc = tl.dot(powers.to(values.dtype), values, acc * scale[:, None])
            peak, total = higher, total * scale + tl.sum(powers, 1)
        put(output, acc / total[:, None], (image, head, first), TEAMS, D)
