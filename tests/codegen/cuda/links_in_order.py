"""The links of a chain as plain Triton: the first block does all of them, one after another."""

from __future__ import annotations

import triton
import triton.language as tl

from tenfold.codegen.cuda import grid


@triton.jit
def beside(streams, at, inside, kinds: tl.constexpr):
    values = ()
    for one in tl.static_range(len(kinds)):
        if kinds[one] == 2:
            values = values + (tl.load(streams[one] + at, mask=inside, other=0),)
        else:
            values = values + (tl.load(streams[one]),)
    return values


@triton.jit
def product(given, plan: tl.constexpr, holes: tl.constexpr, N: tl.constexpr, K: tl.constexpr):
    w, output, extra, ready, uniforms, _ = given
    at = tl.arange(0, plan[6])
    inside = at < plan[5]
    values = beside(ready[0], at, inside, plan[8])
    made = holes[1](values + holes[0](values, (), ready[2], (), inside), (), ready[2], (), inside)
    for one in tl.static_range(len(plan[9])):
        tl.store(ready[1][one] + at, made[one], mask=inside)
    row = tl.reshape(tl.where(inside, made[0], 0).to(w.dtype), (plan[6] // K, K)).to(tl.float32)
    for tile in range(plan[2]):
        column = tile * N + tl.arange(0, N)
        total = tl.zeros((K // 64, N, 64), tl.float32)
        for step in range(plan[3]):
            x = tl.sum(tl.where(tl.arange(0, plan[6] // K)[:, None] == step, row, 0.0), 0)
            total += w.load([step * (K // 64), tile * N, 0]).to(tl.float32) * tl.reshape(x, (K // 64, 1, 64))
        values = (tl.sum(tl.sum(total, 2), 0),) + beside(extra, column, column < plan[4], plan[7])
        tl.store(output + column, holes[2](values, (), uniforms, (), column < plan[4])[0], mask=column < plan[4])


@triton.jit
def points(given, plan: tl.constexpr, holes: tl.constexpr):
    inputs, outputs, gathered, uniforms, sizes = given
    for chunk in range((plan[2] + 255) // 256):
        flat = chunk * 256 + tl.arange(0, 256)
        inside = flat < plan[2]
        at = grid.positions(flat, sizes)
        values = ()
        for one in tl.static_range(len(inputs)):
            values = values + (tl.load(inputs[one][0] + grid.distance(at, inputs[one][1], True), mask=inside, other=0),)
        results = holes[0](values, at, uniforms, gathered, inside)
        for one in tl.static_range(len(outputs)):
            tl.store(outputs[one][0] + grid.distance(at, outputs[one][1], True), results[one], mask=inside)


@triton.jit
def attention(given, plan: tl.constexpr):
    q, k, v, partial = given
    element = tl.arange(0, plan[8])
    for head in range(plan[2] // plan[6]):
        batch, one = head // plan[4], head % plan[4]
        shared = one // plan[5]
        query = tl.load(q[0] + batch * q[1][0] + one * q[1][1] + element * q[1][3]).to(tl.float32)
        peak, total = float("-inf"), 0.0
        sums = tl.zeros((plan[8],), tl.float32)
        for key in range(plan[3]):
            at = batch * k[1][0] + shared * k[1][1] + key * k[1][2] + element * k[1][3]
            score = tl.sum(query * tl.load(k[0] + at).to(tl.float32), 0) * (1e-12 * plan[9])
            higher = tl.maximum(peak, score)
            scale, power = tl.exp(peak - higher), tl.exp(score - higher)
            at = batch * v[1][0] + shared * v[1][1] + key * v[1][2] + element * v[1][3]
            sums = sums * scale + power * tl.load(v[0] + at).to(tl.float32)
            total, peak = total * scale + power, higher
        for part in range(plan[6]):
            own = partial + (head * plan[6] + part) * (plan[8] + 2)
            tl.store(own + element, sums / plan[6])
            tl.store(own + plan[8], 0.0)
            tl.store(own + plan[8] + 1, total / plan[6])


@triton.jit
def join(given, plan: tl.constexpr):
    output, partial = given
    element = tl.arange(0, plan[6])
    for head in range(plan[2]):
        sums, total = tl.zeros((plan[6],), tl.float32), 0.0
        for part in range(plan[4]):
            own = partial + (head * plan[4] + part) * (plan[6] + 2)
            sums += tl.load(own + element)
            total += tl.load(own + plan[6] + 1)
        at = head // plan[3] * output[1][0] + head % plan[3] * output[1][1]
        tl.store(output[0] + at + element * output[1][3], sums / total)


@triton.jit
def chained(
    given, counters, plans: tl.constexpr, holes: tl.constexpr, FIRST: tl.constexpr, ROOM: tl.constexpr,
    N: tl.constexpr, K: tl.constexpr, SLOTS: tl.constexpr, FLIGHT: tl.constexpr, WARPS: tl.constexpr,
    MEET: tl.constexpr, EARLY: tl.constexpr,
):  # fmt: skip
    if tl.program_id(0) == 0:
        for one in tl.static_range(len(plans)):
            if plans[one][0] == 2:
                product(given[one], plans[one], holes[one], N, K)
            elif plans[one][0] == 3:
                points(given[one], plans[one], holes[one])
            elif plans[one][0] == 4:
                attention(given[one], plans[one])
            elif plans[one][0] == 5:
                join(given[one], plans[one])
