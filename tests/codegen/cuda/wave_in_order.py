"""Products in one wave, which are told in PTX, as plain Triton: one step after another."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def columns(w, left, term, PART: tl.constexpr, TERMS: tl.constexpr, TURNED: tl.constexpr):
    """A step's terms of a part's columns, of boxes of 32 where terms lie side by side."""
    if TURNED:
        found = w.load([left, term]).T
        if PART == 64:
            both = tl.join(found, w.load([left + 32, term]).T)
            found = tl.reshape(tl.permute(both, (0, 2, 1)), (TERMS, 64))
    else:
        found = w.load([term, left])
    return found


@triton.jit
def number(extra, kind: tl.constexpr, beside, row, column, m, n, M: tl.constexpr, PART: tl.constexpr):
    if kind == 3:
        found = tl.reshape(beside.load([0, 0, row, column]), (M, PART))
    elif kind == 1:
        at = row + tl.arange(0, M)
        found = tl.load(extra + at, mask=at < m, other=0)[:, None]
    elif kind == 2:
        at = column + tl.arange(0, PART)
        found = tl.load(extra + at, mask=at < n, other=0)[None, :]
    else:
        found = tl.load(extra)
    return found


@triton.jit
def tell(told, found, row, left, m, n, M: tl.constexpr, PART: tl.constexpr, WIDTH: tl.constexpr):
    apart = tl.reshape(found.to(tl.float32), (M, PART // WIDTH, WIDTH))
    at = row + tl.arange(0, M)[:, None]
    part = left // WIDTH + tl.arange(0, PART // WIDTH)[None, :]
    to, inside = told[0] + part * told[2] + at, (at < m) & (part * WIDTH < n)
    tl.store(to, tl.sum(apart, 2), mask=inside)
    tl.store(to + told[1], tl.sum(apart * apart, 2), mask=inside)


@triton.jit
def straight(
    x, w, output, beside, extra, told, uniforms, across, m, n, k, body: tl.constexpr, kinds: tl.constexpr,
    PARTS: tl.constexpr, WIDTH: tl.constexpr, M: tl.constexpr, TURNED: tl.constexpr,
):  # fmt: skip
    row, PART = tl.program_id(0) // across * M, PARTS[0]
    TERMS: tl.constexpr = x.block_shape[1]
    for part in tl.static_range(len(PARTS)):
        left = tl.program_id(0) % across * (PART * len(PARTS)) + part * PART
        acc = tl.zeros((M, PART), tl.float32)
        for step in range(tl.cdiv(k, TERMS)):
            acc = tl.dot(x.load([row, step * TERMS]), columns(w, left, step * TERMS, PART, TERMS, TURNED), acc)
        values = (acc,)
        for one in tl.static_range(len(kinds)):
            tile = beside[part] if kinds[one] == 3 else 0
            values = values + (number(extra[one], kinds[one], tile, row, left, m, n, M, PART),)
        result = body(values, (), uniforms, (), left + tl.arange(0, PART) < n)[0].to(output[part].dtype)
        output[part].store([0, 0, row, left], tl.reshape(result, output[part].block_shape))
        if WIDTH > 0:
            tell(told, result, row, left, m, n, M, PART, WIDTH)
