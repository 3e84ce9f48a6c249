"""Kernels in Gluon, which Triton's interpreter cannot run, as plain Triton: one step after another."""

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl

from tenfold.codegen.cuda.conv.teams import corner, reached, share
from tenfold.codegen.cuda.program import Program
from tenfold.codegen.cuda.triton import kernel_of


@triton.jit
def boxes(
    x, w, output, beside, extra, uniforms, partial, counters, tiles, counts, n, k, body: tl.constexpr,
    kinds: tl.constexpr, ALONG: tl.constexpr, TAPS: tl.constexpr, steps: tl.constexpr, dilations: tl.constexpr,
    pads: tl.constexpr, box: tl.constexpr, N: tl.constexpr, K: tl.constexpr, SLOTS: tl.constexpr,
    TEAMS: tl.constexpr, WARPS: tl.constexpr, SLICES: tl.constexpr, TURNED: tl.constexpr, AHEAD: tl.constexpr,
    EARLY: tl.constexpr,
):  # fmt: skip
    M: tl.constexpr = box[0] * box[1] * box[2]
    for tile in range(tl.program_id(0), tiles, tl.num_programs(0)):
        image, row, pixel, left = corner(tile, counts, box, N)
        acc = tl.zeros((M, N), tl.float32)
        depth = tl.cdiv(k, K)
        for part in range(SLICES):
            begin, end = share(part, depth * TAPS, SLICES)
            for step in range(begin, end):
                tap, channel = step // depth, step % depth * K
                line, odd_line = reached(tap // ALONG, steps[0], dilations[0], pads[0])
                place, odd_place = reached(tap % ALONG, steps[1], dilations[1], pads[1])
                a = x.load([image, row + line, odd_line, pixel + place, odd_place * k + channel])
                term = tap * k + channel
                b = w.load([left, term]).T if TURNED else w.load([term, left])
                acc = tl.dot(tl.reshape(a, (M, K)), b, acc)
        column = left + tl.arange(0, N)
        values = (acc,)
        for one in tl.static_range(len(kinds)):
            if kinds[one] == 3:
                values = values + (tl.reshape(beside[0].load([image, row, pixel, left]), (M, N)),)
            elif kinds[one] == 2:
                values = values + (tl.load(extra[one] + column, mask=column < n, other=0)[None, :],)
            else:
                values = values + (tl.load(extra[one]),)
        results = body(values, (), uniforms, (), column < n)
        output.store([image, row, pixel, left], tl.reshape(results[0].to(output.dtype), output.block_shape))


def interpreted(program: Program) -> Any:
    """The Triton function of a program, or what stands for it."""
    return boxes if program.kernel.endswith("teams:boxes") else kernel_of(program)
