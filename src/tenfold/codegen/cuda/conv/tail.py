"""The end of a tile, in Gluon: what lies beside its sums, the body on them, results on their way out, and moments."""

from __future__ import annotations

from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.hopper import fence_async_shared, tma

from tenfold.codegen.cuda.conv.dialect import copy_out, layout_of, layout_of_end


@gluon.jit
def moments_of(moments, top, m, M: gl.constexpr, WARPS: gl.constexpr, STANDING: gl.constexpr):
    """The moments of a tile's rows part by part, a row a thread; nothing where STANDING is empty."""
    found = ()
    if len(STANDING) > 0:
        row = top + gl.arange(0, M, layout=gl.BlockedLayout([1], [32], [WARPS], [0]))
        for part in gl.static_range(2 * STANDING[0]):
            found = found + (gl.load(moments + part * m + row, mask=row < m, other=0),)
    return found


@gluon.jit
def standing_of(parts, STANDING: gl.constexpr):
    """(1 / deviation, mean / deviation) of rows from the moments of their parts; nothing where STANDING, (parts,
    elements of a row, 10^12 of what is added to the variance), is empty.
    """
    if len(STANDING) == 0:
        return ()
    else:
        total = parts[0]
        square = parts[STANDING[0]]
        for part in gl.static_range(1, STANDING[0]):
            total += parts[part]
            square += parts[STANDING[0] + part]
        mean = total * (1.0 / STANDING[1])
        variance = gl.maximum(square * (1.0 / STANDING[1]) - mean * mean, 0.0)
        factor = gl.rsqrt(variance + 1e-12 * STANDING[2])
        return (factor, mean * factor)


@gluon.jit
def numbers_of(
    extra, image, top, left, m, n, kinds: gl.constexpr, layout: gl.constexpr, N: gl.constexpr, box: gl.constexpr,
):  # fmt: skip
    """What lies beside the sums of a tile: one number, one a row, one a column, or one a column of each image."""
    column = left + gl.arange(0, N, layout=gl.SliceLayout(0, layout))
    found = ()
    for one in gl.static_range(len(kinds)):
        if kinds[one] == 4:
            row = image + gl.arange(0, box[0] * box[1] * box[2], layout=gl.SliceLayout(1, layout)) // (box[1] * box[2])
            if box[0] == 1:
                start = extra[one][0] + image * extra[one][1]
                found = found + (gl.expand_dims(gl.load(start + column, mask=column < n, other=0), 0),)
            else:
                inside = gl.expand_dims(row < extra[one][2], 1) & gl.expand_dims(column < n, 0)
                start = extra[one][0] + gl.expand_dims(row * extra[one][1], 1)
                found = found + (gl.load(start + gl.expand_dims(column, 0), mask=inside, other=0),)
        elif kinds[one] == 1:
            pixel = top + gl.arange(0, box[0] * box[1] * box[2], layout=gl.SliceLayout(1, layout))
            found = found + (gl.expand_dims(gl.load(extra[one] + pixel, mask=pixel < m, other=0), 1),)
        elif kinds[one] == 2:
            found = found + (gl.expand_dims(gl.load(extra[one] + column, mask=column < n, other=0), 0),)
        elif kinds[one] == 0:
            found = found + (gl.load(extra[one]),)
        else:
            found = found + (0,)
    return found


@gluon.jit
def numbers_of_parts(
    extra, image, top, lefts, m, n, kinds: gl.constexpr, M: gl.constexpr, END: gl.constexpr, PARTS: gl.constexpr,
    WARPS: gl.constexpr,
):  # fmt: skip
    """What lies beside the sums of each part of a tile's columns."""
    found = ()
    for part in gl.static_range(len(PARTS)):
        these = numbers_of(
            extra, image, top, lefts[part], m, n, kinds,
            layout_of_end(END[0] * END[1] * END[2], PARTS[part], M, WARPS), PARTS[part], END,
        )  # fmt: skip
        found = found + (these,)
    return found


@gluon.jit
def concluded(accs, kept, numbers, standing, uniforms, left, n, body: gl.constexpr, kinds: gl.constexpr):
    """What the body makes of a tile's sums, of what lies beside them, and of how their rows stand."""
    layout: gl.constexpr = accs[0].type.layout
    column = left + gl.arange(0, accs[0].shape[1], layout=gl.SliceLayout(0, layout))
    stands = ()
    for one in gl.static_range(len(standing)):
        stands = stands + (gl.expand_dims(gl.convert_layout(standing[one], gl.SliceLayout(1, layout)), 1),)
    values = accs
    for one in gl.static_range(len(kinds)):
        if kinds[one] == 3:
            values = values + (kept.load(layout),)
        elif kinds[one] > 4:
            values = values + (stands[kinds[one] - 5],)
        else:
            values = values + (numbers[one],)
    return body(values, (), uniforms, (), column < n)[0]


@gluon.jit
def tell(told, found, top, left, m, n, M: gl.constexpr, N: gl.constexpr, WIDTH: gl.constexpr):
    """The sums of every WIDTH columns of a tile's rows, and of their squares."""
    apart = found.to(gl.float32).reshape((M, N // WIDTH, WIDTH))
    totals = gl.sum(apart, 2)
    squares = gl.sum(apart * apart, 2)
    layout: gl.constexpr = totals.type.layout
    row = gl.expand_dims(top + gl.arange(0, M, layout=gl.SliceLayout(1, layout)), 1)
    part = gl.expand_dims(left // WIDTH + gl.arange(0, N // WIDTH, layout=gl.SliceLayout(0, layout)), 0)
    inside = (row < m) & (part * WIDTH < n)
    at = told[0] + part * told[2] + row
    gl.store(at, totals, mask=inside)
    gl.store(at + told[1], squares, mask=inside)


@gluon.jit
def stored(
    accs, output, beside: gl.constexpr, extra, told, standing, uniforms, numbers, kept, team, image, row, pixel, lefts,
    m, n, body: gl.constexpr, kinds: gl.constexpr, box: gl.constexpr, PARTS: gl.constexpr, WIDTH: gl.constexpr,
    WARPS: gl.constexpr,
):  # fmt: skip
    """What the body makes of a tile, part by part on its way out, in shared memory that parts alike share where nothing
    lies beside. `numbers` are there already, or are loaded now.
    """
    for part in gl.static_range(len(output)):
        begin = lefts[part]
        sums = (accs[part],)
        if len(output) < len(PARTS):
            sums = (accs[0], accs[1])
        these = ()
        if len(numbers) > 0:
            these = numbers[part]
        elif len(kinds) > 0:
            these = numbers_of(
                extra, image, pixel, begin, m, n, kinds, layout_of(PARTS[part], WARPS), PARTS[part], box
            )  # fmt: skip
        room = kept[part % len(kept)].index(team)
        results = room.reshape((box[0] * box[1] * box[2], PARTS[part]))
        if beside == 0 and (part == 0 or len(kept) < len(output)):
            tma.store_wait(0)
        found = concluded(sums, results, these, standing, uniforms, begin, n, body, kinds)
        results.store(found.to(output[part].dtype))
        fence_async_shared()
        copy_out(output[part], [image, row, pixel, begin], room)
        if WIDTH > 0:
            tell(told, found, pixel, begin, m, n, box[0] * box[1] * box[2], PARTS[part], WIDTH)
