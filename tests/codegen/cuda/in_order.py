"""Kernels in Gluon, which Triton's interpreter cannot run, as plain Triton: one step after another."""

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl

from tenfold.codegen.cuda import grid
from tenfold.codegen.cuda import pingpong as turns
from tenfold.codegen.cuda.conv.implicit import corner as place_of
from tenfold.codegen.cuda.conv.places import corner, reached, share
from tenfold.codegen.cuda.conv.pooled import places_of
from tenfold.codegen.cuda.program import Program
from tenfold.codegen.cuda.triton import kernel_of
from tests.codegen.cuda.attention_in_order import running, whole
from tests.codegen.cuda.links_in_order import chained
from tests.codegen.cuda.wave_in_order import straight


@triton.jit
def matrix(w, left, term, TURNED: tl.constexpr):
    if TURNED:
        return w.load([left, term]).T
    else:
        return w.load([term, left])


@triton.jit
def number_of(
    extra, kind: tl.constexpr, beside, at, column, n, box: tl.constexpr, M: tl.constexpr, N: tl.constexpr
):  # fmt: skip
    if kind == 3:
        return tl.reshape(beside.load([at[0], at[1], at[2], at[3]]), (M, N))
    elif kind == 4:
        which = at[0] + tl.arange(0, M) // (box[1] * box[2])
        inside = (which < extra[2])[:, None] & (column < n)[None, :]
        return tl.load(extra[0] + (which * extra[1])[:, None] + column[None, :], mask=inside, other=0)
    elif kind == 2:
        return tl.load(extra + column, mask=column < n, other=0)[None, :]
    else:
        return tl.load(extra)


@triton.jit
def boxes(
    x, w, output, beside, extra, uniforms, partial, counters, tiles, counts, n, k, body: tl.constexpr,
    kinds: tl.constexpr, ALONG: tl.constexpr, TAPS: tl.constexpr, steps: tl.constexpr, dilations: tl.constexpr,
    pads: tl.constexpr, box: tl.constexpr, PARTS: tl.constexpr, APART: tl.constexpr, BYTES: tl.constexpr,
    K: tl.constexpr, SLOTS: tl.constexpr, TEAMS: tl.constexpr, WARPS: tl.constexpr, SLICES: tl.constexpr,
    TURNED: tl.constexpr, AHEAD: tl.constexpr, EARLY: tl.constexpr,
):  # fmt: skip
    M: tl.constexpr = box[0] * box[1] * box[2]
    width = 0
    for part in tl.static_range(len(output)):
        width += PARTS[part]
    for tile in range(tl.program_id(0), tiles, tl.num_programs(0)):
        image, row, pixel, begin = corner(tile, counts, box, width)
        for part in tl.static_range(len(output)):
            N: tl.constexpr = PARTS[part]
            left = begin + part * PARTS[0]
            acc = tl.zeros((M, N), tl.float32)
            other = acc
            depth = tl.cdiv(k, K)
            for slice in range(SLICES):
                first, end = share(slice, depth * TAPS, SLICES)
                for step in range(first, end):
                    tap, channel = step // depth, step % depth * K
                    line, odd_line = reached(tap // ALONG, steps[0], dilations[0], pads[0])
                    place, odd_place = reached(tap % ALONG, steps[1], dilations[1], pads[1])
                    a = x.load([image, row + line, odd_line, pixel + place, odd_place * k + channel])
                    term = tap * k + channel
                    acc = tl.dot(tl.reshape(a, (M, K)), matrix(w[part], left, term, TURNED), acc)
                    if APART:
                        other = tl.dot(tl.reshape(a, (M, K)), matrix(w[1], left + APART, term, TURNED), other)
            column = left + tl.arange(0, N)
            values = (acc, other) if APART else (acc,)
            for one in tl.static_range(len(kinds)):
                tile_of = beside[part] if kinds[one] == 3 else 0
                at = (image, row, pixel, left)
                values = values + (number_of(extra[one], kinds[one], tile_of, at, column, n, box, M, N),)
            result = body(values, (), uniforms, (), column < n)[0].to(output[part].dtype)
            output[part].store([image, row, pixel, left], tl.reshape(result, output[part].block_shape))


@triton.jit
def streamed(
    a, w, output, extra, uniforms, tiles, n, k, body: tl.constexpr, kinds: tl.constexpr, N: tl.constexpr,
    K: tl.constexpr, SLOTS: tl.constexpr, EARLY: tl.constexpr,
):  # fmt: skip
    for tile in range(tl.program_id(0), tiles, tl.num_programs(0)):
        column = tile * N + tl.arange(0, N)
        total = tl.zeros((N, K), tl.float32)
        for step in range(tl.cdiv(k, K)):
            term = step * K + tl.arange(0, K)
            x = tl.load(a[0] + term * a[1], mask=term < k, other=0)
            total += w.load([tile * N, step * K]).to(tl.float32) * x.to(tl.float32)[None, :]
        values = (tl.sum(total, 1),)
        for one in tl.static_range(len(kinds)):
            if kinds[one] == 2:
                values = values + (tl.load(extra[one] + column, mask=column < n, other=0),)
            else:
                values = values + (tl.load(extra[one]),)
        tl.store(output + column, body(values, (), uniforms, (), column < n)[0], mask=column < n)


@triton.jit
def lines(
    x, w, output, extra, uniforms, row_sizes, tiles, m, n, in_sizes, out_sizes, pads, body: tl.constexpr,
    kinds: tl.constexpr, strides: tl.constexpr, dilations: tl.constexpr, CHANNELS: tl.constexpr, T1: tl.constexpr,
    SPAN: tl.constexpr, PAIRED: tl.constexpr, M: tl.constexpr, N: tl.constexpr, K: tl.constexpr, PARTS: tl.constexpr,
    AHEAD: tl.constexpr, CHAINED: tl.constexpr, WARPS: tl.constexpr, EARLY: tl.constexpr,
):  # fmt: skip
    for tile in range(tl.program_id(0), tiles, tl.num_programs(0)):
        row, column = tile * M + tl.arange(0, M), tl.arange(0, N)
        image, _, h, v = place_of(tl.minimum(row, m - 1), out_sizes, strides, pads)
        start = x[0] + (image.to(tl.int64) * x[1][0] + h * x[1][3] + v * x[1][4])
        acc = tl.zeros((M, N), tl.float32)
        for part in range(PARTS):
            term = part * K + tl.arange(0, K)
            along, tap, channel = term % SPAN, term // SPAN % T1 * dilations[1], term // SPAN // T1
            line, position = h[:, None] + tap[None, :], v[:, None] + (along // (1 + PAIRED) * (1 + PAIRED))[None, :]
            inside = (line >= 0) & (line < in_sizes[1]) & (position >= 0) & (position < in_sizes[2])
            inside = inside & (channel < CHANNELS)[None, :]
            at = (channel * x[1][1] + tap * x[1][3] + along * x[1][4])[None, :]
            a = tl.load(start[:, None] + at, mask=inside, other=0).to(w.dtype)
            acc = tl.dot(a, w.load([0, part * K]).T, acc)
        values = (acc,)
        for one in tl.static_range(len(kinds)):
            if kinds[one] == 2:
                values = values + (tl.load(extra[one] + column, mask=column < n, other=0)[None, :],)
            else:
                values = values + (tl.load(extra[one]),)
        result = body(values, (), uniforms, (), column < n)[0].to(w.dtype)
        at = grid.positions(row.to(tl.int64)[:, None], row_sizes)
        to = output[0] + column[None, :]
        for axis in tl.static_range(len(row_sizes)):
            to = to + at[axis] * output[1][axis]
        tl.store(to, result, mask=(row < m)[:, None] & (column < n)[None, :])


@triton.jit
def greatest(
    x, w, output, extra, uniforms, tiles, count, across, high, n, in_sizes, out_sizes, pads, body: tl.constexpr,
    kinds: tl.constexpr, strides: tl.constexpr, shifts: tl.constexpr, CHANNELS: tl.constexpr, GROUPS: tl.constexpr,
    STEP: tl.constexpr, SPAN: tl.constexpr, PAIRED: tl.constexpr, WIDE: tl.constexpr, LEFT: tl.constexpr,
    CLIPPED: tl.constexpr, N: tl.constexpr, WARPS: tl.constexpr, EARLY: tl.constexpr,
):  # fmt: skip
    """Every window that a place sees for itself."""
    column, term = tl.arange(0, N), tl.arange(0, 16)
    for at in range(tl.program_id(0), tiles * high, tl.num_programs(0)):
        tile, pool = at // high, at % high
        image, place, _, inside = places_of(tile, tl.arange(0, 8 * WARPS), count, across, WARPS, WIDE, LEFT)
        best = tl.full((8 * WARPS, N), float("-inf"), tl.float32)
        for window in range((2 + WIDE) * (2 + WIDE)):
            h, v = (
                pool * 2 + window // (2 + WIDE) - WIDE + shifts[0],
                place * 2 + window % (2 + WIDE) - WIDE + shifts[1],
            )
            there = (h >= 0) & (v >= 0)
            if CLIPPED:
                there = there & (h < out_sizes[0]) & (v < out_sizes[1])
            acc = tl.zeros((8 * WARPS, N), tl.float32)
            for step in range(GROUPS * CHANNELS):
                line = h * strides[1] - pads[1] + step // CHANNELS * (16 // SPAN) + term // SPAN
                position = (v * strides[2] - pads[2])[:, None] + (term % SPAN)[None, :]
                seen = ((line >= 0) & (line < in_sizes[1]))[None, :] & (position >= 0) & (position < in_sizes[2])
                start = x[0] + (image * x[1][0] + step % CHANNELS * x[1][1])[:, None] + (line * x[1][3])[None, :]
                a = tl.load(start + position * x[1][4], mask=seen & inside[:, None], other=0).to(w.dtype)
                acc = tl.dot(a, w.load([0, step * 16]).T, acc)
            best = tl.maximum(best, tl.where(there[:, None], acc, float("-inf")))
        values = (best,)
        for one in tl.static_range(len(kinds)):
            if kinds[one] == 2:
                values = values + (tl.load(extra[one] + column, mask=column < n, other=0)[None, :],)
            else:
                values = values + (tl.load(extra[one]),)
        to = output[0] + (image * output[1][0] + pool * output[1][1] + place * output[1][2])[:, None] + column[None, :]
        found = body(values, (), uniforms, (), column < n)[0].to(w.dtype)
        tl.store(to, found, mask=inside[:, None] & (column < n)[None, :])


@triton.jit
def keeping(
    x, w, output, extra, uniforms, tiles, counts, n, body: tl.constexpr, kinds: tl.constexpr, pads: tl.constexpr,
    box: tl.constexpr, T1: tl.constexpr, T2: tl.constexpr, SLOTS: tl.constexpr, EARLY: tl.constexpr,
):  # fmt: skip
    M: tl.constexpr = box[1] * box[2]
    N: tl.constexpr = w.block_shape[0]
    K: tl.constexpr = w.block_shape[1]
    for tile in range(tl.program_id(0), tiles, tl.num_programs(0)):
        image, row, pixel, _ = corner(tile, counts, box, 1)
        acc = tl.zeros((M, N), tl.float32)
        for along in range(T2):
            for tap in range(T1):
                a = x[0].load([image, row - pads[0] + tap, pixel + along - pads[1], 0])
                acc = tl.dot(tl.reshape(a, (M, K)), w.load([0, (tap * T2 + along) * K]).T, acc)
        column = tl.arange(0, N)
        values = (acc,)
        for one in tl.static_range(len(kinds)):
            values = values + (tl.load(extra[one] + column, mask=column < n, other=0)[None, :],)
        result = body(values, (), uniforms, (), column < n)[0].to(output[0].dtype)
        output[0].store([image, row, pixel, 0], tl.reshape(result, output[0].block_shape))


@triton.jit
def pingpong(
    q, k, v, output, heads, shared, t, last, tiles, count, SCALE: tl.constexpr, M: tl.constexpr, N: tl.constexpr,
    D: tl.constexpr, E: tl.constexpr, BYTES: tl.constexpr, SLOTS: tl.constexpr, TEAMS: tl.constexpr,
    CAUSAL: tl.constexpr, EDGE: tl.constexpr, NAN: tl.constexpr, WARPS: tl.constexpr,
    EARLY: tl.constexpr,
):  # fmt: skip
    FACTOR: tl.constexpr = 1.4426950408889634e-12 * SCALE
    HIGH: tl.constexpr = output.block_shape[3]
    for work in range(tl.program_id(0), count, tl.num_programs(0)):
        image, head, first = turns.corner(work, heads, tiles, M * TEAMS, CAUSAL)
        end, whole = turns.depth(first, t, last, M * TEAMS, N, CAUSAL)
        for team in range(TEAMS):
            row = first + team * M + tl.arange(0, M)
            queries = tl.reshape(q.load([image, head, first + team * M, 0]), (M, q.block_shape[3]))
            peak, total = tl.full((M,), float("-inf"), tl.float32), tl.zeros((M,), tl.float32)
            acc = tl.zeros((M, HIGH), tl.float32)
            for step in range(end):
                begin = (end - 1 - step) * N
                keys = tl.reshape(k.load([image, head // (heads // shared), begin, 0]), (N, k.block_shape[3]))
                scores = tl.dot(queries, keys.T)
                if EDGE and (step == 0 or begin >= whole * N):
                    column = begin + tl.arange(0, N)
                    there = (column < t)[None, :] & ((column[None, :] <= row[:, None] + last) | (CAUSAL == 0))
                    scores = tl.where(there, scores, float("-inf"))
                higher = tl.maximum(peak, tl.max(scores, 1))
                least = tl.where(higher == float("-inf"), 0.0, higher) * FACTOR
                powers, scale = tl.exp2(scores * FACTOR - least[:, None]), tl.exp2(peak * FACTOR - least)
                values = tl.reshape(v.load([image, head // (heads // shared), begin, 0]), (N, HIGH))
                acc = tl.dot(powers.to(values.dtype), values, acc * scale[:, None])
                peak, total = higher, total * scale + tl.sum(powers, 1)
            if CAUSAL and not NAN:
                total = tl.where(total == 0, 1.0, total)
            found = (acc / total[:, None]).to(output.dtype)
            output.store([image, head, first + team * M, 0], tl.reshape(found, output.block_shape))


STANDINS = {
    "tenfold.codegen.cuda.whole:whole": whole,
    "tenfold.codegen.cuda.running:running": running,
    "tenfold.codegen.cuda.pingpong:pingpong": pingpong,
    "tenfold.codegen.cuda.conv.kept:keeping": keeping,
    "tenfold.codegen.cuda.conv.lines:lines": lines,
    "tenfold.codegen.cuda.conv.pooled:pooled": greatest,
    "tenfold.codegen.cuda.conv.teams:boxes": boxes,
    "tenfold.codegen.cuda.conv.wgmma:straight": straight,
    "tenfold.codegen.cuda.stream:streamed": streamed,
    "tenfold.codegen.cuda.links:chained": chained,
}


def interpreted(program: Program) -> Any:
    """The Triton function of a program, or what stands for it."""
    return STANDINS.get(program.kernel) or kernel_of(program)
